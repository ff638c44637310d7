"""Pauses: what they stop, which of two who act at once wins, and how runs go on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core import journal
from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import NewPause, NewRun, Redelivery, Store
from tests.store.making import (
    ME,
    B,
    accepted,
    claimed,
    ids,
    new_id,
    plan,
    registered,
    waiting,
    write,
)

P = RunStatus.PAUSED


def new_pause(**changes: Any) -> NewPause:
    return NewPause(**{"id": new_id(), "by": "ada", "reason": "an incident", **changes})


async def claim(store: Store, *runs: NewRun, epoch: int = 0) -> list[str]:
    return ids(await store.claim([(run.id, epoch) for run in runs], owner=ME))


async def of_two_tenants(store: Store) -> tuple[NewRun, NewRun]:
    (ours,) = await accepted(store, tenant="ours")
    (theirs,) = await accepted(store, tenant="theirs")
    await registered(store, ME)
    return ours, theirs


# --- what a pause stops ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "stops"),
    [
        ({}, (True, True)),
        ({"workflow": "order"}, (True, True)),
        ({"workflow": "another"}, (False, False)),
        ({"tenant": "ours"}, (True, False)),
        ({"workflow": "order", "tenant": "theirs"}, (False, True)),
        ({"workflow": "another", "tenant": "ours"}, (False, False)),
    ],
)
async def test_what_it_stops_cannot_be_claimed(
    store: Store, scope: dict[str, str], stops: tuple[bool, bool]
) -> None:
    runs = await of_two_tenants(store)
    made = await store.pause(new_pause(**scope))
    expected = sorted(run.id for run, stopped in zip(runs, stops, strict=True) if not stopped)
    assert await claim(store, *runs) == expected
    held = await store.hold_paused([(run.id, 0) for run in runs])
    assert sorted({run.id for run in runs} - set(held)) == expected
    for run in runs:
        stopped = run.id in held
        assert ((await store.run(run.id)).status is P) == stopped
        assert made.stops(
            run_id=run.id, workflow=run.workflow, tenant=run.tenant, undoing=False
        ) is stopped  # fmt: skip


async def test_a_single_run_stops_at_once_and_says_why(store: Store) -> None:
    one, other = await accepted(store, 2)
    await registered(store, ME)
    made = await store.pause(new_pause(run_id=one.id))
    assert (made.workflow, made.tenant, made.scope) == ("order", "default", f"run {one.id}")
    found = await store.run(one.id)
    assert (found.status, found.published_at) == (P, None)
    told = (await store.audit(one.id))[-1]
    assert (told.kind, told.actor, told.data["reason"]) == ("run.paused", "ada", "an incident")
    assert journal.replay(plan(), told.data["events"]).status is P
    assert await claim(store, one, other) == [other.id]


async def test_the_owner_of_a_single_run_is_left_to_give_it_up(store: Store) -> None:
    (run,) = await claimed(store)
    await store.pause(new_pause(run_id=run.run.id))
    assert (await store.run(run.run.id)).owner == ME
    assert [each.kind for each in await store.audit(run.run.id)][-1] == "run.pause_requested"
    await store.record([write(run, status=P, release=True)])
    assert (await store.run(run.run.id)).owner is None
    assert await store.release_paused() == []  # the pause holds


async def test_a_run_that_waits_does_so_until_its_time(store: Store) -> None:
    (run,) = await waiting(store, -1)
    (later,) = await waiting(store, 3600)
    await store.pause(new_pause())
    (due,) = await store.take_due()
    assert await store.claim([(due.run_id, due.epoch)], owner=ME) == []
    assert await store.hold_paused([(due.run_id, due.epoch)]) == [run.run.id]
    assert (await store.run(later.run.id)).status is RunStatus.WAITING


async def test_runs_that_go_back_go_on_unless_it_says_otherwise(store: Store) -> None:
    (run,) = await claimed(store)
    back = {"status": RunStatus.COMPENSATING, "direction": B}
    await store.record([write(run, release=True, hinted=True, **back)])
    mild = await store.pause(new_pause())
    assert await store.hold_paused([(run.run.id, 1)]) == []
    assert len(await store.claim([(run.run.id, 1)], owner=ME)) == 1
    await store.end_pause(mild.id, by="ada", reason="")
    await store.record([write(run, release=True, hinted=True, epoch=2, **back)])
    await store.pause(new_pause(also_undoing=True))
    assert await store.claim([(run.run.id, 2)], owner=ME) == []
    assert await store.hold_paused([(run.run.id, 2)]) == [run.run.id]


async def test_it_ends_by_itself(store: Store) -> None:
    (run,) = await accepted(store)
    await registered(store, ME)
    await store.pause(new_pause(seconds=3600))
    assert await claim(store, run) == []
    (made,) = await store.pauses()
    assert made.until is not None
    assert timedelta(seconds=3599) < made.until - made.since < timedelta(seconds=3601)
    await store.end_pause(made.id, by="ada", reason="")
    over = await store.pause(new_pause(seconds=0))
    assert await store.pauses() == []
    assert await claim(store, run) == [run.id]
    await store.release_paused()
    (last, _) = await store.pauses(active_only=False)
    assert (last.id, last.ended_by, last.ending_reason) == (
        over.id, "engine", "its time was over"
    )  # fmt: skip


# --- two at once ----------------------------------------------------------------------------------


async def test_the_same_is_paused_once(store: Store) -> None:
    made = await store.pause(new_pause(workflow="order", by="ada"))
    with pytest.raises(Conflict, match="paused by ada since"):
        await store.pause(new_pause(workflow="order", by="bob"))
    await store.pause(new_pause(workflow="order", tenant="ours"))
    await store.end_pause(made.id, by="bob", reason="over")
    await store.pause(new_pause(workflow="order", by="bob"))


async def test_it_is_ended_once(store: Store) -> None:
    made = await store.pause(new_pause())
    ended = await store.end_pause(made.id, by="bob", reason="over")
    assert (ended.ended_by, ended.ending_reason) == ("bob", "over")
    with pytest.raises(Conflict, match="ended by bob at"):
        await store.end_pause(made.id, by="cleo", reason="over")
    with pytest.raises(NotFound):
        await store.end_pause(new_id(), by="cleo", reason="over")


@pytest.mark.parametrize("status", [*sorted(FINAL), RunStatus.ESCALATED])
async def test_a_settled_run_is_a_conflict(store: Store, status: RunStatus) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, status=status, release=True)])
    with pytest.raises(Conflict, match=f"status {status}"):
        await store.pause(new_pause(run_id=run.run.id))
    assert await store.pauses() == []
    with pytest.raises(NotFound):
        await store.pause(new_pause(run_id=new_id()))


async def test_of_a_pause_and_claims_at_once_one_comes_first(store: Store, other: Store) -> None:
    """Whatever the order: a run is somebody's, or it is stopped; never both, never neither."""
    runs = await accepted(store, 30)
    await registered(store, ME)

    async def take() -> list[str]:
        found: list[str] = []
        for run in runs:
            found += ids(await other.claim([(run.id, 0)], owner=ME))
        return found

    async def stop() -> None:
        for run in reversed(runs):
            await store.pause(new_pause(run_id=run.id))

    taken, _ = await asyncio.gather(take(), stop())
    for run in runs:
        found = await store.run(run.id)
        kinds = [each.kind for each in await store.audit(run.id)]
        stands = (found.status, found.owner, kinds[-1])
        paused = (P, None, "run.paused")
        theirs = (RunStatus.PENDING, ME, "run.pause_requested")
        assert stands == (theirs if run.id in taken else paused)


# --- going on -------------------------------------------------------------------------------------


async def paused(store: Store, *hints: tuple[str, int]) -> str:
    made = await store.pause(new_pause())
    assert sorted(await store.hold_paused(hints)) == sorted(run_id for run_id, _ in hints)
    return made.id


async def resumed(store: Store, pause_id: str, **more: Any) -> list[Redelivery]:
    await store.end_pause(pause_id, by="ada", reason="over")
    return await store.release_paused(**more)


async def test_runs_go_on_at_a_pace(store: Store) -> None:
    runs = await accepted(store, 3)
    await registered(store, ME)
    pause_id = await paused(store, *((run.id, 0) for run in runs))
    assert await store.release_paused() == []
    first = await resumed(store, pause_id, limit=2)
    second = await store.release_paused(limit=2)
    assert ids([*first, *second]) == ids(runs)
    assert (len(first), first[0].why, first[0].epoch) == (2, "resumed", 0)
    assert await claim(store, *runs) == ids(runs)
    told = (await store.audit(runs[0].id))[1:]
    assert [each.kind for each in told] == ["run.paused", "run.resumed"]
    assert [each.seq for each in told] == [2, 3]
    events = [entry for each in told for entry in each.data["events"]]
    assert journal.replay(plan(), events).status is RunStatus.RUNNING


async def test_what_else_stops_them_still_does(store: Store) -> None:
    ours, theirs = await of_two_tenants(store)
    pause_id = await paused(store, (ours.id, 0), (theirs.id, 0))
    await store.pause(new_pause(tenant="ours"))
    assert ids(await resumed(store, pause_id)) == [theirs.id]


async def test_what_is_left_of_a_wait_is_waited(store: Store) -> None:
    (run,) = await waiting(store, 3600)
    until = (await store.run(run.run.id)).wake_at
    made = await store.pause(new_pause(run_id=run.run.id))
    found = await store.run(run.run.id)
    assert (found.status, found.wake_at) == (P, until)
    assert await resumed(store, made.id) == []
    found = await store.run(run.run.id)
    assert (found.status, found.wake_at, found.published_at) == (RunStatus.WAITING, until, None)


# --- with a wish to cancel ------------------------------------------------------------------------


async def cancel(store: Store, run_id: str) -> Redelivery | None:
    return await store.request_cancel(run_id, mode=CancelMode.UNDO, reason="no", by="ada")


async def test_a_cancelled_run_turns_back_although_it_is_paused(store: Store) -> None:
    (run,) = await accepted(store)
    await registered(store, ME)
    await paused(store, (run.id, 0))
    redelivery = await cancel(store, run.id)
    assert redelivery is not None
    assert await claim(store, run, epoch=redelivery.epoch) == [run.id]
    told = await store.audit(run.id)
    assert [each.kind for each in told][-2:] == ["run.cancel_requested", "run.resumed"]
    events = [entry for each in told for entry in each.data.get("events", ())]
    assert journal.replay(plan(), events).status is RunStatus.RUNNING


async def test_it_waits_where_the_pause_stops_undoing_too(store: Store) -> None:
    (run,) = await accepted(store)
    await registered(store, ME)
    made = await store.pause(new_pause(also_undoing=True))
    await store.hold_paused([(run.id, 0)])
    assert await cancel(store, run.id) is None
    assert (await store.run(run.id)).status is P
    assert ids(await resumed(store, made.id)) == [run.id]


async def test_a_wish_is_answered_before_its_owner_lets_the_run_pause(store: Store) -> None:
    (run,) = await claimed(store)
    assert await cancel(store, run.run.id) is None
    (signals,) = await store.record([write(run, status=P, release=True)])
    assert signals is not None
    assert signals.cancel is CancelMode.UNDO
    assert (await store.run(run.run.id)).owner == ME
