"""Dead workers, waits that are over, lost hints, and the counts of what waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import Direction, RunStatus
from orchestrator.ports import Flow, Store
from tests.store.backends import Backend, forget_worker
from tests.store.making import (
    ME,
    YOU,
    accepted,
    claimed,
    ids,
    registered,
    waiting,
    worker,
    write,
)

NEVER = 3600.0


async def test_workers_come_beat_and_go(store: Store) -> None:
    await registered(store, ME, YOU)
    await registered(store, ME)  # its first answer was lost
    assert await store.heartbeat(ME, active_runs=7, reserved=3) is True
    mine, yours = await store.workers()
    assert (mine.id, mine.name, mine.active_runs, mine.reserved) == (ME, f"{ME}@host", 7, 3)
    assert mine.heartbeat_at > yours.started_at
    assert mine.started_at != worker(ME).started_at  # the database's time, not the worker's
    assert await store.deregister(ME) == []
    assert [each.id for each in await store.workers()] == [YOU]
    assert await store.heartbeat(ME, active_runs=0, reserved=0) is False


async def test_an_overdue_worker_loses_its_runs(store: Store) -> None:
    runs = await claimed(store, 3)
    await asyncio.sleep(0.6)
    await registered(store, YOU)

    found = await store.recover_dead(dead_after_seconds=0.5)  # a slow machine keeps YOU alive

    assert ids(found) == ids(runs)
    assert {(each.epoch, each.why, each.direction) for each in found} == {
        (2, "worker dead", Direction.FORWARD)
    }
    run = await store.run(runs[0].run.id)
    assert (run.owner, run.epoch, run.claims) == (None, 2, 1)
    assert run.published_at is not None
    assert run.published_at > run.created_at
    assert [each.id for each in await store.workers()] == [YOU]
    assert await store.heartbeat(ME, active_runs=0, reserved=0) is False
    assert await store.claim([(runs[0].run.id, 1)], owner=YOU) == []
    assert len(await store.claim([(runs[0].run.id, 2)], owner=YOU)) == 1


async def test_who_beats_in_time_keeps_its_runs(store: Store) -> None:
    await claimed(store)
    assert await store.recover_dead(dead_after_seconds=NEVER) == []
    assert len(await store.workers()) == 1


async def test_a_free_lock_is_enough(store: Store) -> None:
    mine, yours = await claimed(store), await claimed(store, owner=YOU)
    found = await store.recover_dead(dead_after_seconds=NEVER, also_dead=[ME, "nobody"])
    assert ids(found) == ids(mine)
    assert (await store.run(yours[0].run.id)).owner == YOU


async def test_runs_of_an_owner_without_a_row_are_recovered(store: Store) -> None:
    """Nothing leaves one behind; should it happen all the same, no run is stranded."""
    runs = await accepted(store, 2)
    await registered(store, YOU, "a-ghost")
    await store.claim([(runs[0].id, 0)], owner="a-ghost")
    await forget_worker(store, "a-ghost")
    await store.claim([(runs[1].id, 0)], owner=YOU)
    found = await store.recover_dead(dead_after_seconds=NEVER)
    assert ids(found) == [runs[0].id]


async def test_two_recoverers_share_the_runs(backend: Backend, store: Store) -> None:
    runs = await claimed(store, 300)
    others = [backend.open() for _ in range(4)]
    try:
        answers = await asyncio.gather(
            *(
                each.recover_dead(dead_after_seconds=NEVER, also_dead=[ME], limit=100)
                for each in others
            )
        )
        rest = await store.recover_dead(dead_after_seconds=NEVER, also_dead=[ME])
    finally:
        for each in others:
            await each.close()
    found = [each for answer in [*answers, rest] for each in answer]
    assert ids(found) == ids(runs)
    assert {each.epoch for each in found} == {2}
    assert await store.workers() == []


async def test_who_was_held_for_dead_is_told_before_all_of_its_runs_are_taken(store: Store) -> None:
    """Otherwise it beats once more, trusts itself, and sends for the runs that are taken."""
    await claimed(store, 5)
    assert len(await store.recover_dead(dead_after_seconds=NEVER, also_dead=[ME], limit=3)) == 3
    assert not await store.heartbeat(ME, active_runs=5, reserved=0)
    assert len(await store.recover_dead(dead_after_seconds=NEVER, limit=3)) == 2
    assert await store.workers() == []


async def test_a_warm_shutdown_hands_runs_back(store: Store) -> None:
    runs = await claimed(store, 2)
    found = await store.deregister(ME)
    assert ids(found) == ids(runs)
    assert {(each.epoch, each.why) for each in found} == {(2, "handed back")}
    assert await store.workers() == []


@pytest.mark.parametrize("status", [RunStatus.WAITING, RunStatus.PARKED])
async def test_a_dead_workers_waiting_run_goes_on_waiting(store: Store, status: RunStatus) -> None:
    soon, later, paused = await claimed(store, 3)
    now = await store.now()
    await store.record(
        [
            write(soon, status=status, wake_at=now),
            write(later, status=status, wake_at=now + timedelta(hours=1)),
            write(paused, status=RunStatus.PAUSED),
        ]
    )
    found = await store.recover_dead(dead_after_seconds=NEVER, also_dead=[ME])
    assert ids(found) == [soon.run.id]
    for each in (soon, later, paused):
        assert ((await store.run(each.run.id)).owner, (await store.run(each.run.id)).epoch) == (
            None,
            2,
        )
    (count,) = await store.queue_counts()
    assert (count.due, count.parked, count.owned) == (1, 1, 0)
    assert await store.take_lost(silent_seconds=-1, limit=10) != []
    assert await store.take_due() == []


async def test_due_waits_are_taken_once(store: Store, other: Store) -> None:
    due = await waiting(store, -1, 5)
    await waiting(store, 60, 2)
    answers = await asyncio.gather(store.take_due(), other.take_due(), store.take_due(limit=2))
    found = [each for answer in answers for each in answer]
    assert ids(found) == ids(due)
    assert {(each.why, each.epoch) for each in found} == {("due", 1)}
    assert await store.take_due() == []
    assert (await store.run(due[0].run.id)).published_at is not None


async def test_the_next_that_is_due_is_told_by_the_databases_clock(store: Store) -> None:
    assert await store.due_in_seconds() is None
    await claimed(store)
    assert await store.due_in_seconds() is None  # in somebody's hands, none sleeps
    await waiting(store, 60, 2)
    await waiting(store, 30, status=RunStatus.PARKED)
    left = await store.due_in_seconds()
    assert left is not None
    assert 0 < left <= 30
    await waiting(store, -5)
    due = await store.due_in_seconds()
    assert due is not None
    assert due <= -5
    await store.take_due()
    assert (await store.due_in_seconds() or 0) > 0


async def test_parked_runs_are_recalled_once_and_others_left_alone(store: Store) -> None:
    parked = await waiting(store, 3600, 3, status=RunStatus.PARKED)
    (retrying,) = await waiting(store, 3600)
    (owned,) = await claimed(store)
    every = [*ids(parked)[:2], retrying.run.id, owned.run.id, "no such run"]
    found = await store.recall(every)
    assert sorted(ids(found)) == sorted(ids(parked)[:2])
    assert {(each.why, each.epoch) for each in found} == {("recalled", 1)}
    assert await store.recall(every) == []
    assert await store.recall([]) == []
    again = await store.claim([(each.run_id, each.epoch) for each in found], owner=ME)
    assert sorted(run.run.id for run in again) == sorted(ids(parked)[:2])
    assert await store.take_due() == []


async def test_due_waits_come_in_order_of_their_time(store: Store) -> None:
    second, first = await waiting(store, -1), await waiting(store, -2)
    assert ids(await store.take_due(limit=1)) == ids(first)
    assert ids(await store.take_due(limit=1)) == ids(second)


@pytest.mark.parametrize(
    ("more", "urgent"),
    [({}, False), ({"priority": 1}, True), ({"deadline_seconds": 30.0}, True),
     ({"deadline_seconds": 3600.0}, False)],
)  # fmt: skip
async def test_a_wake_up_says_whether_the_run_goes_ahead_of_others(
    store: Store, more: dict[str, float], urgent: bool
) -> None:
    (run,) = await accepted(store, **more)
    (lost,) = await store.take_lost(silent_seconds=-1, limit=10)
    cancelled = await store.request_cancel(run.id, mode=CancelMode.UNDO, reason="", by="ada")
    assert cancelled is not None
    assert (lost.urgent, cancelled.urgent) == (urgent, urgent)


async def test_a_wait_that_was_announced_and_lost_is_found(store: Store) -> None:
    runs = await waiting(store, -1)
    assert await store.take_lost(silent_seconds=-1, limit=10) == []
    await store.take_due()
    assert await store.take_lost(silent_seconds=60, limit=10) == []
    assert ids(await store.take_lost(silent_seconds=-1, limit=10)) == ids(runs)


async def test_a_wait_can_begin_again(store: Store) -> None:
    (run,) = await waiting(store, -1)
    await store.take_due()
    (again,) = await store.claim([(run.run.id, 1)], owner=ME)
    now = await store.now()
    await store.record([write(again, status=RunStatus.WAITING, wake_at=now, release=True)])
    assert ids(await store.take_due()) == [run.run.id]


async def test_silent_hints_are_lost_ones(store: Store) -> None:
    runs = await accepted(store, 5)
    await claimed(store, 2)
    assert await store.take_lost(silent_seconds=60, limit=10) == []
    await asyncio.sleep(0.05)
    first = await store.take_lost(silent_seconds=0.04, limit=3)
    assert len(first) == 3
    assert {(each.why, each.epoch, each.step) for each in first} == {("lost", 0, 0)}
    second = await store.take_lost(silent_seconds=0.04, limit=10)
    assert ids([*first, *second]) == ids(runs)


async def test_a_run_given_back_without_a_hint_is_lost_at_once(store: Store) -> None:
    (run,) = await claimed(store)
    await asyncio.sleep(0.03)
    await store.record([write(run, release=True)])
    assert ids(await store.take_lost(silent_seconds=0.02, limit=10)) == [run.run.id]


async def test_sweeps_share_and_tell_where_a_run_stands(store: Store, other: Store) -> None:
    runs = await accepted(store, 200, lane="fast")
    answers = await asyncio.gather(
        *((store, other)[n % 2].take_lost(silent_seconds=-1, limit=20) for n in range(10))
    )
    found = [each for answer in answers for each in answer]
    assert {each.lane for each in found} == {"fast"}
    assert {each.hop_id for each in found} <= {run.id for run in runs}
    assert {each.parent_hop_id for each in found} == {None}
    version = await store.workflow("order")
    assert {each.workflow_id for each in found} == {version.id}


async def test_queue_counts(store: Store) -> None:
    await accepted(store, 3)
    await accepted(store, 2, lane="fast")
    await claimed(store, 4)
    await waiting(store, 60, 2)
    await waiting(store, -2)
    (back,) = await claimed(store)
    backward = Direction.BACKWARD
    await store.record(
        [write(back, status=RunStatus.COMPENSATING, direction=backward, release=True)]
    )
    (done,) = await claimed(store)
    await store.record([write(done, status=RunStatus.SUCCEEDED, release=True)])

    counts = {(c.lane, c.direction): c for c in await store.queue_counts()}

    assert {at: (c.due, c.owned, c.parked) for at, c in counts.items()} == {
        ("default", Direction.FORWARD): (4, 4, 2),
        ("default", Direction.BACKWARD): (1, 0, 0),
        ("fast", Direction.FORWARD): (2, 0, 0),
    }
    oldest = counts["default", Direction.FORWARD].oldest_due_seconds
    assert oldest is not None
    assert 1.5 < oldest < 30
    assert (await store.count_by_status())[RunStatus.SUCCEEDED] == 1


async def test_nothing_waits_in_an_empty_database(store: Store) -> None:
    assert await store.queue_counts() == []
    assert await store.take_due() == []
    assert await store.take_lost(silent_seconds=-1, limit=10) == []
    assert await store.recover_dead(dead_after_seconds=1) == []
    assert await store.count_by_status() == {}


async def test_what_was_accepted_and_what_settled_lately(store: Store) -> None:
    assert await store.flow(seconds=60) == Flow(accepted=0, settled=0)
    await accepted(store, 2)
    done, under_way = await claimed(store, 2)
    await store.record([write(done, status=RunStatus.SUCCEEDED, release=True), write(under_way)])
    seen = await store.flow(seconds=60)
    assert seen.settled == 1
    assert seen.accepted >= 2
