"""What `doctor --deep` finds in tables that contradict themselves, and that it disturbs nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.core.chain import Breach
from orchestrator.core.saga import Link
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.service.auditing import Verification
from orchestrator.service.consistency import Consistency, DeepLook
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import LinkRow, MemoryDatabase, RunRow, place_of
from tests.faults.memory.measure import Ticking
from tests.store.making import claimed

LANDED = Link(status=LinkStatus.LANDED, attempts=1)


async def whole(run_id: str) -> Verification:
    del run_id
    return Verification()


async def look(store: MemoryStore) -> DeepLook:
    return await Consistency(store, whole, again_seconds=0.0).look(most=10)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(MemoryDatabase(Ticking()))


def _settle(row: RunRow, status: RunStatus) -> None:
    row.status, row.owner, row.settled_at = status, None, row.created_at


def _unhinted(row: RunRow) -> None:
    row.status, row.owner, row.published_at = RunStatus.RUNNING, None, None


def _landed(row: RunRow, step: int, direction: Direction, sequence: int) -> None:
    row.links[place_of(step, direction)] = LinkRow(link=replace(LANDED, sequence=sequence))


def _undone_in_order(row: RunRow) -> None:
    _settle(row, RunStatus.COMPENSATED)
    for step in (0, 1):
        _landed(row, step, Direction.FORWARD, 1 + step)
        _landed(row, step, Direction.BACKWARD, 3 + step)


def _left_standing(row: RunRow) -> None:
    _settle(row, RunStatus.COMPENSATED)
    _landed(row, 0, Direction.FORWARD, 1)


SPOILT: dict[str, tuple[Callable[[RunRow], None], str]] = {
    "settled and owned": (lambda row: setattr(row, "status", RunStatus.ABANDONED), "owner"),
    "settled at no time": (
        lambda row: (_settle(row, RunStatus.ABANDONED), setattr(row, "settled_at", None))[0],
        "settled_at",
    ),
    "waits for ever": (lambda row: setattr(row, "status", RunStatus.WAITING), "wake_at"),
    "goes both ways": (lambda row: setattr(row, "status", RunStatus.COMPENSATING), "direction"),
    "never announced": (_unhinted, "published_at"),
    "owned by nobody known": (lambda row: setattr(row, "owner", "gone"), "owner"),
    "escalated without a letter": (
        lambda row: _settle(row, RunStatus.ESCALATED), "escalations",
    ),
    "succeeded half way": (lambda row: _settle(row, RunStatus.SUCCEEDED), "step s1"),
    "undone in the wrong order": (_undone_in_order, "undo of s1"),
    "left standing": (_left_standing, "undo of s1"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
async def test_what_contradicts_itself_is_told_with_its_run(store: MemoryStore, name: str) -> None:
    good, bad = await claimed(store, 2)
    row = store.database.runs[bad.run.id]
    spoil, place = SPOILT[name]
    if "owned" not in name and "ways" not in name:
        row.owner = None
    row.status = RunStatus.RUNNING
    spoil(row)
    store.database.shelve(row)
    found = await look(store)
    assert (found.runs, found.moving) == (2, 0)
    assert place in {each.place for each in found.found}
    assert {each.run for each in found.found} == {bad.run.id} != {good.run.id}
    assert all(each.found and each.wanted and each.do for each in found.found)


async def test_what_is_as_it_should_be_is_not_told_of(store: MemoryStore) -> None:
    await claimed(store, 3)
    found = await look(store)
    assert (found.runs, found.found) == (3, [])


async def test_what_a_pass_mends_meanwhile_is_not_told_of(store: MemoryStore) -> None:
    (run,) = await claimed(store)
    row = store.database.runs[run.run.id]
    reads = 0

    async def then_mended(run_id: str) -> Verification:
        nonlocal reads
        reads += 1
        if reads > 1:
            row.wake_at = row.created_at + timedelta(seconds=1)
        return await whole(run_id)

    row.status = RunStatus.WAITING
    found = await Consistency(store, then_mended, again_seconds=0.0).look(most=10)
    assert (found.runs, found.found) == (1, [])
    assert reads > 1, "it was not looked at again"


async def test_a_run_that_never_stands_still_is_left_out(store: MemoryStore) -> None:
    (run,) = await claimed(store)
    row = store.database.runs[run.run.id]
    row.settled_at = row.created_at

    async def and_moves_on(run_id: str) -> Verification:
        row.audit_seq += 1
        return await whole(run_id)

    found = await Consistency(store, and_moves_on, again_seconds=0.0).look(most=10)
    assert (found.runs, found.moving, found.found) == (0, 1, [])


async def test_a_broken_audit_is_told_with_its_record(store: MemoryStore) -> None:
    (run,) = await claimed(store)

    async def broken(run_id: str) -> Verification:
        found = Verification()
        found.note([Breach(place=f"run {run_id}", seq=2, what="record 2 is missing")])
        return found

    (told,) = (await Consistency(store, broken, again_seconds=0.0).look(most=10)).found
    assert (told.run, told.place, told.found) == (
        run.run.id, "audit record 2", "record 2 is missing",
    )  # fmt: skip
