"""One look says of each sweep whether it would find something, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.ports import NewPause, Store
from orchestrator.ports.surveys import Survey
from tests.store.backends import forget_worker
from tests.store.making import (
    ME,
    SURVEYED,
    YOU,
    accepted,
    claimed,
    escalated,
    new_id,
    registered,
    waiting,
)
from tests.store.test_branches import end, forked
from tests.store.test_jobs import of_three

AT_ONCE = replace(SURVEYED, dead_after=0, lost_after=0)
TRUTHS = [each.name for each in fields(Survey) if each.type == "bool"]


def seen(survey: Survey) -> list[str]:
    return [name for name in TRUTHS if getattr(survey, name)]


async def test_of_what_goes_well_nothing_is_seen(store: Store) -> None:
    await registered(store, ME, YOU)
    await claimed(store, 2)
    await accepted(store)
    await waiting(store, 60)
    await of_three(store)
    found = await store.survey(SURVEYED)
    assert sorted(found.workers or ()) == [ME, YOU]
    assert found.due_in_seconds is not None
    assert 55 < found.due_in_seconds <= 60
    assert seen(found) == []


async def test_nobody_sleeps(store: Store) -> None:
    found = await store.survey(SURVEYED)
    assert (found.workers, found.due_in_seconds) == ((), None)


async def test_whose_time_has_come_is_due(store: Store) -> None:
    await waiting(store, -1, status=RunStatus.PARKED)
    assert (await store.survey(SURVEYED)).due_in_seconds == pytest.approx(-1, abs=1)
    await store.take_due()
    assert (await store.survey(SURVEYED)).due_in_seconds is None


async def without_a_row(store: Store) -> Callable[[], Awaitable[object]]:
    await claimed(store)
    await forget_worker(store, ME)
    return lambda: store.recover_dead(dead_after_seconds=60)


async def all_ended(store: Store) -> Callable[[], Awaitable[object]]:
    _, opened, branches = await forked(store)
    for each in branches:
        await end(store, each, RunStatus.SUCCEEDED)
    return lambda: store.tell_parents([opened.id])


async def one_failed(store: Store) -> Callable[[], Awaitable[object]]:
    _, _, (first, *_) = await forked(store)
    await end(store, first, RunStatus.ABANDONED, "422")
    return store.cancel_forsaken


async def paused(store: Store) -> Callable[[], Awaitable[object]]:
    made = await store.pause(NewPause(id=new_id(), by="ada", reason="why"))
    return lambda: store.end_pause(made.id, by="ada", reason="over")


async def claim_over(store: Store) -> Callable[[], Awaitable[object]]:
    ((known, _),) = await escalated(store)
    await store.claim_escalation(known, by="ada", for_seconds=-1)
    return store.release_expired_claims


async def without_code(store: Store) -> Callable[[], Awaitable[object]]:
    (run,) = await waiting(store, 60, status=RunStatus.PARKED)
    await store.wait_for_code(run.run.id, "pack@2")
    return lambda: store.take_coded(["pack@2"], limit=5)


@pytest.mark.parametrize(
    ("name", "happens"),
    [
        ("dead", without_a_row),
        ("untold", all_ended),
        ("forsaken", one_failed),
        ("paused", paused),
        ("unclaimed", claim_over),
        ("coded", without_code),
    ],
)
async def test_what_there_is_to_do_is_seen_until_it_is_done(
    store: Store, name: str, happens: Callable[[Store], Awaitable[Callable[[], Awaitable[object]]]]
) -> None:
    do = await happens(store)
    assert seen(await store.survey(SURVEYED)) == [name]
    await do()
    assert seen(await store.survey(SURVEYED)) == []


async def test_what_was_not_heard_of_for_long_is_seen(store: Store) -> None:
    await of_three(store)
    (run,) = await accepted(store)
    await asyncio.sleep(0.01)
    assert seen(await store.survey(AT_ONCE)) == ["dead", "lost", "jobs"]
    assert await store.recover_dead(dead_after_seconds=0) == []
    await registered(store, YOU)
    assert await store.claim([(run.id, 0)], owner=YOU)
    assert seen(await store.survey(replace(AT_ONCE, dead_after=60))) == ["jobs"]
