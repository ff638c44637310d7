"""Schedules and their firings in SQL: what many workers write at once is there once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.schedules import (
    Decision,
    FiringKind,
    FiringState,
    Overlap,
    Rhythm,
    Schedule,
    Turn,
)
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports.schedules import (
    Looked,
    NewScheduleChange,
    ScheduleChangeKind,
    ScheduleRecord,
)
from orchestrator.store import SqlStore, open_store
from tests.store.making import SURVEYED, new_run, published
from tests.store.test_races import at_once

AT = datetime(2026, 11, 1, 3, tzinfo=UTC)
HOURLY = Schedule(
    workflow="order", rhythm=Rhythm(cron="0 * * * *", zone="Europe/Berlin"),
    inputs={"item": "tea", "at": None}, time_input="at", attributes={"kind": "nightly"},
)  # fmt: skip
DUE, QUEUED, STARTED, SKIPPED = (
    FiringState.DUE, FiringState.QUEUED, FiringState.STARTED, FiringState.SKIPPED,
)  # fmt: skip


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(url, pool_size=4)
    yield opened
    await opened.close()


async def changed(
    store: SqlStore,
    before: ScheduleRecord | None = None,
    kind: ScheduleChangeKind = ScheduleChangeKind.SET,
    schedule: Schedule = HOURLY,
    **more: Any,
) -> ScheduleRecord:
    values: dict[str, Any] = {
        "id": "s1", "tenant": "acme", "name": "nightly", "by": "ada", "reason": "why",
        "next_at": AT, "due_at": AT + timedelta(seconds=3),
    }  # fmt: skip
    return await store.change_schedule(
        NewScheduleChange(**{**values, **more}, expected=before, kind=kind, schedule=schedule)
    )


async def looked_at(store: SqlStore) -> Looked:
    (found,) = await store.schedules_to_look_at(limit=10)
    return found


def turn(*new: Decision, moved: tuple[Decision, ...] = (), hours: int = 1) -> Turn:
    at = AT + timedelta(hours=hours)
    return Turn(new=new, moved=moved, next_at=at, due_at=at)


def decided(state: FiringState, hours: int = 0, **more: Any) -> Decision:
    return Decision(at=AT + timedelta(hours=hours), state=state, **more)


async def states(store: SqlStore) -> list[tuple[int, str]]:
    found = await store.firings("s1")
    return [((each.at - AT) // timedelta(hours=1), each.state.value) for each in found]


async def test_a_schedule_is_kept_with_its_history(store: SqlStore) -> None:
    made = await changed(store)
    assert (made.version, made.schedule, made.paused) == (1, HOURLY, False)
    assert (made.next_at, made.due_at) == (AT, AT + timedelta(seconds=3))
    with pytest.raises(Conflict, match="one of this name"):
        await changed(store, id="s2")
    paused = await changed(store, made, ScheduleChangeKind.PAUSE, next_at=None, due_at=None)
    assert paused.paused
    with pytest.raises(Conflict, match="changed at the same moment"):
        await changed(store, made, ScheduleChangeKind.RESUME)
    still = await changed(store, paused)
    assert still.paused  # another rhythm does not begin it again
    history = await store.schedule_changes("s1")
    assert [each.kind.value for each in history] == ["set", "pause", "set"]
    assert [each.name for each in await store.schedules("acme")] == ["nightly"]
    await changed(store, still, ScheduleChangeKind.DELETE, next_at=None, due_at=None)
    assert await store.schedules() == []
    with pytest.raises(NotFound, match="it has none"):
        await store.schedule("acme", "nightly")
    again = await changed(store, id="s2")
    assert (again.id, again.version) == ("s2", 1)


async def test_of_many_that_look_one_decides(store: SqlStore, url: str) -> None:
    assert not (await store.survey(SURVEYED)).scheduled
    await changed(store)
    looked = await looked_at(store)
    assert (await store.survey(SURVEYED)).scheduled

    async def act(other: Any) -> bool:
        done: bool = await other.record_turn(looked, turn(decided(DUE)))
        return done

    won = await asyncio.to_thread(at_once, url, [act] * 4)
    assert sorted(won) == [False] * 3 + [True]
    assert await states(store) == [(0, "due")]
    (due,) = await store.to_begin(older_than_seconds=0, limit=10)
    assert (due.schedule_id, due.at, due.schedule, due.name) == ("s1", AT, HOURLY, "nightly")
    assert await store.to_begin(older_than_seconds=60, limit=10) == []
    assert await store.to_begin(older_than_seconds=0, schedule_id="other", limit=10) == []


async def test_one_that_was_changed_or_paused_meanwhile_is_not_decided_on(store: SqlStore) -> None:
    made = await changed(store)
    looked = await looked_at(store)
    await changed(store, made)
    assert not await store.record_turn(looked, turn(decided(DUE)))
    made = await store.schedule("acme", "nightly")
    looked = await looked_at(store)
    await changed(store, made, ScheduleChangeKind.PAUSE, next_at=None, due_at=None)
    assert not await store.record_turn(looked, turn(decided(DUE)))
    assert await states(store) == []
    assert await store.schedules_to_look_at(limit=10) == []


async def test_what_was_decided_on_is_seen_although_its_schedule_is_paused(store: SqlStore) -> None:
    await changed(store)
    await store.record_turn(await looked_at(store), turn(decided(DUE)))
    made = await store.schedule("acme", "nightly")
    await changed(store, made, ScheduleChangeKind.PAUSE, next_at=None, due_at=None)
    assert (await store.survey(SURVEYED)).scheduled
    assert not (await store.survey(replace(SURVEYED, left_after=60))).scheduled
    await store.note_begun("s1", AT, run_id=None, reason="refused")
    assert not (await store.survey(SURVEYED)).scheduled


async def test_a_run_is_begun_by_the_schedule_that_was_decided_on(store: SqlStore) -> None:
    made = await changed(store)
    await store.record_turn(await looked_at(store), turn(decided(DUE)))
    made = await store.schedule("acme", "nightly")
    other = Schedule(workflow="other", rhythm=HOURLY.rhythm)
    await changed(store, made, schedule=other)
    (due,) = await store.to_begin(older_than_seconds=0, limit=10)
    assert due.schedule == HOURLY


async def test_what_goes_on_is_seen_until_its_run_has_ended(store: SqlStore) -> None:
    run = new_run(await published(store))
    await store.accept([run])
    await changed(store)
    await store.record_turn(await looked_at(store), turn(decided(DUE)))
    await store.note_begun("s1", AT, run_id=run.id)
    await store.note_begun("s1", AT, run_id=None, reason="the first answer stays")
    looked = await looked_at(store)
    assert [(each.state, each.run_id) for each in looked.opens] == [(STARTED, run.id)]
    await store.record_turn(looked, turn(decided(QUEUED, hours=1), hours=2))
    assert [each.state for each in (await looked_at(store)).opens] == [STARTED, QUEUED]
    await store.note_begun("s1", AT + timedelta(hours=1), run_id="it is not due")
    assert await states(store) == [(1, "queued"), (0, "started")]


async def test_a_run_that_is_over_or_gone_keeps_none_waiting(store: SqlStore) -> None:
    await changed(store)
    await store.record_turn(await looked_at(store), turn(decided(DUE)))
    await store.note_begun("s1", AT, run_id="gone")
    looked = await looked_at(store)
    assert (list(looked.opens), list(looked.ended)) == ([], [AT])
    await store.record_turn(looked, turn())
    assert list((await looked_at(store)).ended) == []


async def test_where_runs_may_overlap_none_is_looked_for(store: SqlStore) -> None:
    await changed(store, schedule=Schedule(
        workflow="order", rhythm=HOURLY.rhythm, overlap=Overlap.ALLOW
    ))  # fmt: skip
    await store.record_turn(await looked_at(store), turn(decided(DUE)))
    assert list((await looked_at(store)).opens) == []


async def test_what_was_skipped_may_be_made_up_for_and_what_ran_may_not(store: SqlStore) -> None:
    await changed(store)
    await store.record_turn(
        await looked_at(store),
        turn(decided(DUE), decided(SKIPPED, hours=4, since=AT + timedelta(hours=1), reason="why")),
    )
    made = await store.schedule("acme", "nightly")
    times = [AT + timedelta(hours=hours) for hours in range(6)]
    begun = await store.add_firings(made, times, FiringKind.BACKFILL, by="ada", state=QUEUED)
    assert begun == 5
    assert await states(store) == [
        (5, "queued"), (4, "queued"), (3, "queued"), (2, "queued"), (1, "queued"), (0, "due"),
    ]  # fmt: skip
    again = await store.add_firings(made, times, FiringKind.BACKFILL, by="ada", state=QUEUED)
    assert again == 0
    looked = await looked_at(store)
    await store.record_turn(looked, turn(moved=(decided(DUE, hours=1),), hours=6))
    assert (await states(store))[-2:] == [(1, "due"), (0, "due")]


async def test_what_was_long_ago_is_forgotten_but_not_what_goes_on(store: SqlStore) -> None:
    await changed(store)
    new = (decided(DUE), decided(SKIPPED, hours=1), decided(QUEUED, hours=2))
    await store.record_turn(await looked_at(store), turn(*new, hours=3))
    assert await store.retire_firings(older_than_seconds=60) == 0
    assert await store.retire_firings(older_than_seconds=-60) == 1
    assert await states(store) == [(2, "queued"), (0, "due")]
