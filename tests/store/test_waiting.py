"""One answer counts for a wait, whoever else gives one; and nothing that was sent is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.states import Direction, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import (
    Asks,
    Awaited,
    Awaiting,
    ClaimedRun,
    Decision,
    NewPause,
    NewSignal,
    NewWait,
    SignalReceipt,
    Signals,
    Store,
    WaitOutcome,
    WaitRecord,
)
from tests.store.backends import Backend
from tests.store.making import AT, ME, YOU, accepted, audit, claimed, new_id, registered, write


def wait(run: ClaimedRun, **changes: Any) -> NewWait:
    made = NewWait(
        id=new_id(), run_id=run.run.id, step=1, attempt=1, step_id="s2", asks=Asks.SIGNAL,
        signal="paid", asked={"signal": "paid", "ü": [1]}, expires_at=None,
    )  # fmt: skip
    return replace(made, **changes)


def approval(run: ClaimedRun, **changes: Any) -> NewWait:
    return wait(run, asks=Asks.APPROVAL, signal=None, asked={"message": "pay?"}, **changes)


async def sleep(store: Store, run: ClaimedRun, new: NewWait, **changes: Any) -> Awaited:
    """The run at its wait, released unless that is over."""
    until = await store.now() + timedelta(days=1)
    given = write(run, status=RunStatus.WAITING, wake_at=until, release=True, **changes)
    (found,) = await store.await_answers([Awaiting(wait=new, write=given)])
    assert found is not None
    return found


async def asleep(store: Store, **changes: Any) -> tuple[ClaimedRun, WaitRecord]:
    (run,) = await claimed(store)
    return run, (await sleep(store, run, wait(run, **changes))).wait


async def asking(store: Store, **changes: Any) -> tuple[ClaimedRun, WaitRecord]:
    (run,) = await claimed(store)
    return run, (await sleep(store, run, approval(run, **changes))).wait


async def send(store: Store, run_id: str, **changes: Any) -> SignalReceipt:
    new = NewSignal(run_id=run_id, name="paid", key="k", data={"n": 1}, by="bank", via="rest")
    return await store.send_signal(replace(new, **changes))


async def decide(
    store: Store, wait_id: str, decision: Decision = Decision.APPROVED, **changes: Any
) -> WaitRecord:
    given: dict[str, Any] = {"by": "ada", "via": "cli", "reason": "ok", "data": {"n": 1}}
    return (await store.decide(wait_id, decision, **{**given, **changes}))[0]


SOON = 0.3
"""Seconds until a time is over: longer than a call takes on a busy machine."""


async def over(store: Store, wait: WaitRecord) -> None:
    """Its time is."""
    assert wait.is_open
    assert wait.expires_at is not None
    left = (wait.expires_at - await store.now()).total_seconds()
    await asyncio.sleep(max(left, 0.0) + 0.01)


async def ago(store: Store, seconds: float = 1.0) -> Any:
    return await store.now() - timedelta(seconds=seconds)


# --- the owner's side -----------------------------------------------------------------------------


async def test_a_run_that_waits_is_in_nobodys_hands(store: Store) -> None:
    run, opened = await asleep(store)
    assert (opened.is_open, opened.outcome, opened.answer) == (True, None, None)
    assert (opened.workflow, opened.tenant, opened.asked) == (
        "order", "default", {"signal": "paid", "ü": [1]},
    )  # fmt: skip
    found = await store.run(run.run.id)
    assert (found.status, found.owner, found.published_at) == (RunStatus.WAITING, None, None)
    assert await store.take_due() == []
    assert await store.take_lost(silent_seconds=-1, limit=9) == []
    assert await store.waits_of(run.run.id) == [opened]


async def test_a_signal_wakes_the_run_and_is_its_answer(store: Store) -> None:
    run, opened = await asleep(store)
    receipt = await send(store, run.run.id)
    assert (receipt.signal.wait_id, receipt.repeated) == (opened.id, False)
    assert receipt.redelivery is not None
    assert receipt.redelivery.why == "answered"
    (taken,) = await store.claim([(run.run.id, receipt.redelivery.epoch)], owner=ME)
    found = await sleep(store, taken, wait(run))
    assert (found.wait.id, found.wait.outcome) == (opened.id, WaitOutcome.ANSWERED)
    assert (found.wait.answer, found.wait.closed_by, found.wait.via) == ({"n": 1}, "bank", "rest")
    assert (await store.run(run.run.id)).owner == ME  # who goes on with the answer


async def test_an_answer_to_a_paused_run_wakes_it_when_the_pause_is_over(store: Store) -> None:
    run, _ = await asleep(store)
    pause = NewPause(id=new_id(), by="ada", reason="x", run_id=run.run.id)
    await store.pause(pause)
    assert (await send(store, run.run.id)).redelivery is None
    assert (await store.run(run.run.id)).status is RunStatus.PAUSED
    assert await store.release_paused() == []
    await store.end_pause(pause.id, by="ada", reason="over")
    (resumed,) = await store.release_paused()
    assert (resumed.run_id, resumed.why) == (run.run.id, "resumed")
    assert len(await store.claim([(resumed.run_id, resumed.epoch)], owner=ME)) == 1


async def test_a_hint_of_an_answer_that_is_lost_is_given_again(store: Store) -> None:
    run, _ = await asleep(store)
    await send(store, run.run.id)
    (lost,) = await store.take_lost(silent_seconds=-1, limit=9)
    assert lost.run_id == run.run.id


async def test_signals_that_come_early_are_kept_and_taken_in_order(store: Store) -> None:
    (run,) = await claimed(store)
    for number in (1, 2):
        early = await send(store, run.run.id, key=str(number), data={"n": number})
        assert (early.signal.wait_id, early.redelivery) == (None, None)
    await send(store, run.run.id, name="other", key="3")
    first = await sleep(store, run, wait(run))
    assert first.wait.answer == {"n": 1}
    second = await sleep(store, run, wait(run, step=2))
    assert second.wait.answer == {"n": 2}
    third = await sleep(store, run, wait(run, step=2, attempt=2))
    assert third.wait.is_open
    taken = [signal.wait_id for signal in await store.signals_of(run.run.id)]
    assert taken == [first.wait.id, second.wait.id, None]


async def test_asked_again_it_is_the_same_wait(store: Store) -> None:
    (run,) = await claimed(store)
    given = write(run, status=RunStatus.WAITING, wake_at=AT, release=True, audit=(audit(2),))
    again = [Awaiting(wait=wait(run), write=given) for _ in range(2)]
    (first,) = await store.await_answers(again[:1])
    assert first is not None
    assert await store.await_answers(again[1:]) == [None]  # it is not ours any more
    (other,) = await claimed(store)
    found = await sleep(store, other, wait(other, expires_at=await ago(store, -60)))
    (taken,) = await _woken(store, other)
    later = await sleep(store, taken, wait(other, expires_at=await ago(store, -900)))
    assert later.wait == found.wait


async def _woken(store: Store, run: ClaimedRun) -> list[ClaimedRun]:
    redelivery = await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="", by="ada")
    assert redelivery is not None
    return await store.claim([(run.run.id, redelivery.epoch)], owner=ME)


async def test_a_stale_owner_opens_nothing(store: Store) -> None:
    (run,) = await claimed(store)
    stale = replace(write(run, status=RunStatus.WAITING, release=True), epoch=7)
    assert await store.await_answers([Awaiting(wait=wait(run), write=stale)]) == [None]
    assert await store.waits_of(run.run.id) == []


async def test_many_at_once_are_answered_each_for_itself(store: Store) -> None:
    runs = await claimed(store, 3)
    await send(store, runs[1].run.id)
    until = await store.now() + timedelta(hours=1)
    given = [
        Awaiting(
            wait=wait(run), write=write(run, status=RunStatus.WAITING, wake_at=until, release=True)
        )
        for run in reversed(runs)
    ]
    given[2] = Awaiting(wait=given[2].wait, write=replace(given[2].write, owner="worker-you"))
    found = await store.await_answers(given)
    assert [each and each.wait.outcome for each in found] == [None, WaitOutcome.ANSWERED, None]
    owners = [(await store.run(run.run.id)).owner for run in runs]
    assert owners == [ME, ME, None]


async def test_a_wish_to_cancel_keeps_the_run_with_its_owner(store: Store) -> None:
    (run,) = await claimed(store)
    await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="no", by="ada")
    found = await sleep(store, run, wait(run))
    assert found.signals.cancel is CancelMode.UNDO
    assert (await store.run(run.run.id)).owner == ME


@pytest.mark.parametrize("by", ["an answer", "a wish to cancel"])
async def test_who_dies_with_what_a_run_waits_for_leaves_it_to_go_on_at_once(
    store: Store, by: str
) -> None:
    """Its owner was told of it by the commit that would have let the run sleep, and nobody else."""
    (run,) = await claimed(store)
    if by == "an answer":
        await send(store, run.run.id)
    else:
        await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="no", by="ada")
    await sleep(store, run, wait(run))
    (found,) = await store.recover_dead(dead_after_seconds=1000, also_dead=[ME], limit=9)
    assert found.run_id == run.run.id
    await registered(store, YOU)
    assert len(await store.claim([(found.run_id, found.epoch)], owner=YOU)) == 1


async def test_a_run_wakes_when_its_wait_wants_it(store: Store) -> None:
    now = await store.now()
    (run,) = await claimed(store)
    soon = now + timedelta(seconds=60)
    await sleep(store, run, wait(run, expires_at=soon))
    assert (await store.run(run.run.id)).wake_at == soon
    other, opened = await asking(store, remind_seconds=30.0)
    assert opened.remind_at is not None
    assert (await store.run(other.run.id)).wake_at == opened.remind_at


async def test_a_reminder_is_audited_once_when_it_is_due(store: Store) -> None:
    (run,) = await claimed(store)
    first = await sleep(store, run, approval(run, remind_seconds=0.001))
    assert first.wait.reminders == 0
    await asyncio.sleep(0.01)
    (due,) = await store.take_due()
    (taken,) = await store.claim([(run.run.id, due.epoch)], owner=ME)
    second = await sleep(store, taken, approval(run), audit=(audit(taken.run.audit_seq + 1),))
    assert (second.wait.is_open, second.wait.reminders) == (True, 1)
    kinds = [record.kind for record in await store.audit(run.run.id)]
    assert kinds[-2:] == ["approval.reminded", "step.begun"]


# --- one of them wins -----------------------------------------------------------------------------


async def test_time_that_is_over_closes_a_wait_and_what_comes_later_is_kept(store: Store) -> None:
    run, opened = await asleep(store, expires_at=await ago(store, -SOON))
    await over(store, opened)
    receipt = await send(store, run.run.id)
    assert receipt.signal.wait_id is None
    (found,) = await store.waits_of(run.run.id)
    assert (found.id, found.outcome, found.answer) == (opened.id, WaitOutcome.EXPIRED, None)
    assert receipt.redelivery is not None  # the run need not wait to hear of it


async def test_what_came_in_time_counts_although_the_owner_looks_late(store: Store) -> None:
    run, opened = await asleep(store, expires_at=await ago(store, -SOON))
    receipt = await send(store, run.run.id)
    await over(store, opened)
    assert receipt.redelivery is not None
    (taken,) = await store.claim([(run.run.id, receipt.redelivery.epoch)], owner=ME)
    assert (await sleep(store, taken, wait(run))).wait.outcome is WaitOutcome.ANSWERED


async def test_what_came_before_the_wait_counts_although_its_time_was_short(store: Store) -> None:
    (run,) = await claimed(store)
    await send(store, run.run.id)
    found = await sleep(store, run, wait(run, expires_at=await ago(store, -1)))
    assert found.wait.outcome is WaitOutcome.ANSWERED


async def test_the_same_signal_again_changes_nothing(store: Store) -> None:
    run, opened = await asleep(store)
    first = await send(store, run.run.id)
    before = await store.audit(run.run.id)
    again = await send(store, run.run.id, by="somebody else")
    assert (again.signal, again.repeated, again.redelivery) == (first.signal, True, None)
    assert (await store.audit(run.run.id), opened.is_open) == (before, True)
    with pytest.raises(Conflict, match="other data"):
        await send(store, run.run.id, data={"n": 2})


@pytest.mark.parametrize("decision", list(Decision))
async def test_a_decision_is_the_answer(store: Store, decision: Decision) -> None:
    run, opened = await asking(store)
    closed, redelivery = await store.decide(
        opened.id[-8:], decision, by="ada", via="link", reason="fine", data={"limit": 5}
    )
    assert redelivery is not None
    assert (closed.outcome, closed.closed_by, closed.via) == (
        WaitOutcome(decision), "ada", "link",
    )  # fmt: skip
    assert closed.closed_at is not None
    assert closed.answer == {
        "decision": decision.value, "by": "ada", "via": "link", "reason": "fine",
        "data": {"limit": 5}, "at": closed.closed_at.isoformat(),
    }  # fmt: skip
    last = (await store.audit(run.run.id))[-1]
    assert (last.kind, last.actor) == ("approval.decided", "ada")
    assert last.data == {
        "wait": opened.id, "step": "s2", "decision": decision.value, "reason": "fine",
        "via": "link",
    }  # fmt: skip


async def test_the_second_decision_hears_of_the_first(store: Store) -> None:
    _, opened = await asking(store)
    await decide(store, opened.id)
    with pytest.raises(Conflict, match=r"approved by ada \(via cli\) at"):
        await decide(store, opened.id, Decision.REJECTED, by="bob")


async def test_of_many_at_once_one_decides(backend: Backend) -> None:
    stores = [backend.open() for _ in range(4)]
    try:
        run, opened = await asking(stores[0])
        found = await asyncio.gather(
            *(decide(store, opened.id, by=f"p{n}") for n, store in enumerate(stores)),
            return_exceptions=True,
        )
        (winner,) = [each for each in found if isinstance(each, WaitRecord)]
        assert sum(isinstance(each, Conflict) for each in found) == 3
        kinds = [(r.kind, r.actor) for r in await stores[0].audit(run.run.id)]
        assert kinds.count(("approval.decided", str(winner.closed_by))) == 1
        assert sum(kind == "approval.decided" for kind, _ in kinds) == 1
    finally:
        for store in stores:
            await store.close()


async def test_a_late_decision_is_refused(store: Store) -> None:
    _, opened = await asking(store, expires_at=await ago(store))
    assert opened.outcome is WaitOutcome.EXPIRED
    with pytest.raises(Conflict, match="found expired at"):
        await decide(store, opened.id)
    _, other = await asking(store, expires_at=await ago(store, -SOON))
    await over(store, other)
    with pytest.raises(Conflict, match="its time is over"):
        await decide(store, other.id)


async def test_a_run_that_is_to_be_cancelled_is_not_approved(store: Store) -> None:
    run, opened = await asking(store)
    await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="no", by="ada")
    with pytest.raises(Conflict, match="its run is to be cancelled"):
        await decide(store, opened.id)


async def test_a_signal_is_no_approval(store: Store) -> None:
    _, opened = await asleep(store)
    with pytest.raises(Conflict, match="a wait for the signal paid"):
        await decide(store, opened.id)


async def test_a_sleep_is_looked_at_and_ended_with_what_comes_of_it(store: Store) -> None:
    until = await store.now() + timedelta(seconds=SOON)
    run, opened = await asleep(
        store, asks=Asks.SLEEP, signal=None, asked={"for": SOON}, expires_at=until
    )
    same = wait(run, asks=Asks.SLEEP, signal=None, asked={})
    unknown = wait(run, asks=Asks.SLEEP, signal=None, asked={}, attempt=2)
    looks = [Awaiting(wait=each, write=None) for each in (same, unknown)]
    assert await store.await_answers(looks) == [Awaited(wait=opened, signals=Signals()), None]
    await over(store, opened)
    (found, none) = await store.await_answers(looks)
    assert none is None
    assert found is not None
    assert (found.wait.id, found.wait.outcome) == (opened.id, WaitOutcome.EXPIRED)
    assert await store.waits_of(run.run.id) == [opened]  # nothing was written
    (due,) = await store.take_due()
    (taken,) = await store.claim([(run.run.id, due.epoch)], owner=ME)
    await store.record([write(taken, withdraws=True)])
    (ended,) = await store.waits_of(run.run.id)
    assert ended.outcome is WaitOutcome.EXPIRED
    assert ended.closed_at is not None
    assert ended.closed_at >= until


async def test_a_sleep_that_is_not_over_is_withdrawn(store: Store) -> None:
    until = await store.now() + timedelta(hours=1)
    run, opened = await asleep(
        store, asks=Asks.SLEEP, signal=None, asked={"for": 3600}, expires_at=until
    )
    await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="no", by="ada")
    (row,) = [await store.run(run.run.id)]
    (taken,) = await store.claim([(row.id, row.epoch)], owner=ME)
    await store.record([write(taken, withdraws=True)])
    (ended,) = await store.waits_of(run.run.id)
    assert (ended.id, ended.outcome) == (opened.id, WaitOutcome.WITHDRAWN)


async def test_nobody_answers_a_sleep(store: Store) -> None:
    until = await store.now() + timedelta(seconds=SOON)
    run, opened = await asleep(
        store, asks=Asks.SLEEP, signal=None, asked={"for": SOON}, expires_at=until
    )
    with pytest.raises(Conflict, match="a wait for a time alone"):
        await decide(store, opened.id)
    assert (await send(store, run.run.id)).signal.wait_id is None
    assert (await store.run(run.run.id)).wake_at == opened.expires_at
    await over(store, opened)
    (due,) = await store.take_due()
    (taken,) = await store.claim([(run.run.id, due.epoch)], owner=ME)
    found = await sleep(store, taken, wait(run, asks=Asks.SLEEP, signal=None, asked={}))
    assert (found.wait.id, found.wait.outcome) == (opened.id, WaitOutcome.EXPIRED)
    assert await store.take_due() == []
    assert [signal.wait_id for signal in await store.signals_of(run.run.id)] == [None]


@pytest.mark.parametrize(
    ("status", "direction"),
    [
        (RunStatus.COMPENSATING, Direction.BACKWARD), (RunStatus.ABANDONED, Direction.FORWARD),
        (RunStatus.SUCCEEDED, Direction.FORWARD),
    ],
)  # fmt: skip
async def test_nothing_reaches_a_run_that_turned_back_or_ended(
    store: Store, status: RunStatus, direction: Direction
) -> None:
    run, opened = await asking(store)
    (taken,) = await _woken(store, run)
    await store.record([write(taken, status=status, direction=direction, withdraws=True)])
    (found,) = await store.waits_of(run.run.id)
    assert (found.outcome, found.is_open) == (WaitOutcome.WITHDRAWN, False)
    assert await store.approvals() == []
    with pytest.raises(Conflict, match="found withdrawn at"):
        await decide(store, opened.id)
    with pytest.raises(Conflict, match=f"status {status}"):
        await send(store, run.run.id)
    assert await store.signals_of(run.run.id) == []


async def test_a_paused_run_is_answered_and_not_woken(store: Store) -> None:
    run, opened = await asking(store)
    (taken,) = await _woken(store, run)
    await store.record([write(taken, status=RunStatus.PAUSED, release=True, refuses_cancel=True)])
    closed, redelivery = await store.decide(
        opened.id, Decision.APPROVED, by="ada", via="cli", reason="", data={}
    )
    assert (closed.outcome, redelivery) == (WaitOutcome.APPROVED, None)


async def test_an_owner_sees_the_answer_by_itself(store: Store) -> None:
    run, opened = await asking(store)
    (taken,) = await _woken(store, run)
    await store.record([write(taken, refuses_cancel=True)])
    _, redelivery = await store.decide(
        opened.id, Decision.APPROVED, by="ada", via="cli", reason="", data={}
    )
    assert redelivery is None
    found = await sleep(store, taken, approval(run))
    assert found.wait.outcome is WaitOutcome.APPROVED
    assert (await store.run(run.run.id)).owner == ME


# --- look -----------------------------------------------------------------------------------------


async def test_approvals_are_listed_by_tenant_and_page(store: Store) -> None:
    opened = []
    for tenant in ("a", "b", "a"):
        (run,) = await claimed(store, tenant=tenant)
        opened.append((await sleep(store, run, approval(run))).wait)
    await asleep(store)  # a signal is nobody's to approve
    assert [each.id for each in await store.approvals()] == [each.id for each in opened]
    assert [each.id for each in await store.approvals(tenant="a")] == [opened[0].id, opened[2].id]
    after = await store.approvals(after=opened[0].id, limit=1)
    assert [each.id for each in after] == [opened[1].id]
    await decide(store, opened[0].id)
    assert [each.id for each in await store.approvals()] == [each.id for each in opened[1:]]
    assert len(await store.approvals(open_only=False)) == 3
    assert await store.wait(opened[1].id[-8:]) == opened[1]


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    (new,) = await accepted(store)
    with pytest.raises(NotFound, match="no such run"):
        await send(store, new_id())
    with pytest.raises(NotFound):
        await store.wait(new_id())
    with pytest.raises(NotFound):
        await decide(store, new_id())
    assert (await store.waits_of(new.id), await store.signals_of(new.id)) == ([], [])


async def test_a_signal_is_audited(store: Store) -> None:
    (new,) = await accepted(store)
    await send(store, new.id)
    last = (await store.audit(new.id))[-1]
    assert (last.seq, last.kind, last.actor) == (2, "signal.received", "bank")
    assert last.data == {"name": "paid", "key": "k", "number": 1, "via": "rest", "answers": None}
