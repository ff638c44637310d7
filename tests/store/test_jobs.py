"""Jobs: what they are about is settled at once, and each thing is acted on once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.saga import Saga
from orchestrator.core.states import Direction, RunStatus
from orchestrator.errors import Conflict, InvalidInput, JobHeld, NotFound
from orchestrator.ports import (
    ClaimedRun,
    EscalationFilter,
    JobItem,
    JobItemState,
    JobOrder,
    JobRecord,
    JobState,
    NewJob,
    NewPause,
    NewRerun,
    RunFilter,
    Store,
)
from tests.store.backends import Backend
from tests.store.making import audit, escalated, new_id, new_run, published, write

ALL = EscalationFilter(limit=None)


def new_job(**changes: Any) -> NewJob:
    fields: dict[str, Any] = {
        "id": new_id(), "kind": "escalations.retry", "tenant": None, "where": {"api": "shop"},
        "arguments": {}, "by": "ada", "reason": "the shop is back", **changes,
    }  # fmt: skip
    return NewJob(**fields)


async def of_three(store: Store) -> tuple[JobRecord, list[tuple[str, ClaimedRun]]]:
    opened = await escalated(store, 3)
    return await store.add_job(new_job(), ALL), opened


async def act(store: Store, job: JobRecord, one: tuple[str, ClaimedRun]) -> None:
    escalation_id, run = one
    going_on = replace(
        write(run, status=RunStatus.COMPENSATING, direction=Direction.BACKWARD), owner="",
        epoch=run.run.epoch + 1, release=True, audit=(audit(2, "operator.retried"),),
    )  # fmt: skip
    await store.act(
        escalation_id, going_on, expected_epoch=run.run.epoch, resolution="retried", by=job.by,
        reason=job.reason, item=JobItem(job_id=job.id, item=escalation_id, outcome="compensating"),
    )  # fmt: skip


async def test_a_job_holds_what_fitted_when_it_was_accepted(store: Store) -> None:
    before = await escalated(store, 3)
    await store.claim_escalation(before[0][0], by="bob")
    made = await store.add_job(new_job(), EscalationFilter(claimed=False, limit=None))
    await escalated(store, 2)

    assert (made.total, made.done, made.refused, made.pending) == (2, 0, 0, 2)
    assert (made.state, made.turn, made.ended_at) == (JobState.RUNNING, 0, None)
    assert (made.by, made.reason, made.where) == ("ada", "the shop is back", {"api": "shop"})
    assert await store.job(made.id) == await store.job(made.id[-8:]) == made
    items = await store.job_items(made.id)
    assert [each.item for each in items] == sorted(known for known, _ in before[1:])
    assert {each.state for each in items} == {JobItemState.PENDING}


async def test_filters(store: Store) -> None:
    first, second = sorted(known for known, _ in await escalated(store, 2))
    await store.claim_escalation(second, by="bob")
    for which, wanted in [
        (EscalationFilter(workflow="order", step="s2", reason="compensation_failed"), 2),
        (EscalationFilter(workflow="other"), 0),
        (EscalationFilter(api="shop"), 0),  # the test's own escalations do not name it
        (EscalationFilter(detail="41"), 2),
        (EscalationFilter(detail="4_"), 0),
        (EscalationFilter(detail="%"), 0),
        (EscalationFilter(claimed=True), 1),
        (EscalationFilter(claimed=False), 1),
        (EscalationFilter(claimed_by="bob"), 1),
        (EscalationFilter(ids=(first, "no")), 1),
        (EscalationFilter(ids=()), 0),
        (EscalationFilter(older_than_seconds=3600), 0),
        (EscalationFilter(older_than_seconds=-1), 2),
        (EscalationFilter(younger_than_seconds=3600), 2),
        (EscalationFilter(younger_than_seconds=-1), 0),
        (EscalationFilter(tenant="default", after=first), 1),
    ]:
        assert await store.count_things(which) == wanted, which
        assert len(await store.escalations(which)) == wanted, which


async def test_nothing_fits(store: Store) -> None:
    job = new_job()
    with pytest.raises(NotFound, match="fits one at least"):
        await store.add_job(job, ALL)
    assert await store.jobs() == []
    with pytest.raises(NotFound):
        await store.job(job.id)


async def test_the_same_key_is_the_same_job(store: Store) -> None:
    await escalated(store)
    first = await store.add_job(new_job(key="k"), ALL)
    assert await store.add_job(new_job(key="k"), ALL) == first
    with pytest.raises(Conflict, match="key k"):
        await store.add_job(new_job(key="k", kind="escalations.skip"), ALL)
    elsewhere = await store.add_job(new_job(key="k", tenant="acme"), ALL)
    assert [each.id for each in await store.jobs()] == [elsewhere.id, first.id]
    assert [each.id for each in await store.jobs(tenant="acme")] == [elsewhere.id]
    assert [each.id for each in await store.jobs(before=elsewhere.id)] == [first.id]
    assert len(await store.jobs(limit=1)) == 1


async def test_an_act_and_its_item_are_one(store: Store) -> None:
    job, (one, other, _) = await of_three(store)
    await act(store, job, one)
    assert (await store.job(job.id)).done == 1
    (done,) = await store.job_items(job.id, state=JobItemState.DONE)
    assert (done.item, done.outcome, done.at is not None) == (one[0], "compensating", True)

    # It was acted on by somebody else meanwhile: neither is written.
    await store.claim_escalation(other[0], by="bob")
    seen = await store.escalation(other[0])
    going = replace(write(other[1], status=RunStatus.ABANDONED), owner="", epoch=2, release=True)
    await store.act(other[0], going, expected_epoch=1, resolution="abandoned", by="b", reason="r")
    with pytest.raises(Conflict, match="closed"):
        await act(store, job, other)
    assert seen.closed_at is None
    assert (await store.job(job.id)).done == 1
    assert len(await store.job_items(job.id, state=JobItemState.PENDING)) == 2


async def test_an_item_is_settled_once(store: Store) -> None:
    job, (one, *_) = await of_three(store)
    item = JobItem(job_id=job.id, item=one[0], outcome="somebody has it")
    await store.refuse_item(item)
    with pytest.raises(JobHeld, match="is refused"):
        await store.refuse_item(item)
    with pytest.raises(JobHeld, match="is refused"):
        await act(store, job, one)
    assert (await store.escalation(one[0])).closed_at is None
    assert (await store.run(one[1].run.id)).status is RunStatus.ESCALATED
    found = await store.job(job.id)
    assert (found.done, found.refused) == (0, 1)
    for stranger in (replace(item, item="none"), replace(item, job_id=new_id())):
        with pytest.raises(JobHeld):
            await store.refuse_item(stranger)


async def test_of_many_who_act_at_once_one_does(backend: Backend, store: Store) -> None:
    job, (one, *_) = await of_three(store)
    others = [backend.open() for _ in range(3)]
    answers = await asyncio.gather(
        *(act(others[n % 3], job, one) for n in range(9)), return_exceptions=True
    )
    for each in others:
        await each.close()
    assert [answer for answer in answers if not isinstance(answer, Conflict)] == [None]
    assert (await store.job(job.id)).done == 1


@pytest.mark.parametrize("wish", [JobOrder.PAUSE, JobOrder.CANCEL])
async def test_nothing_is_acted_on_after_a_pause_or_cancel(store: Store, wish: JobOrder) -> None:
    job, (one, *_) = await of_three(store)
    held = await store.order_job(job.id, wish, by="bob", reason="wrong ones")
    with pytest.raises(JobHeld, match=str(held.state)):
        await act(store, job, one)
    assert (await store.escalation(one[0])).closed_at is None
    assert await store.take_job_turn(job.id, 0) is None
    assert await store.take_silent_jobs(silent_seconds=-1) == []
    assert (held.ended_at is None) is (wish is JobOrder.PAUSE)
    (told,) = held.orders
    assert (told["by"], told["order"], told["reason"]) == ("bob", wish, "wrong ones")
    with pytest.raises(Conflict, match=str(held.state)):
        await store.order_job(job.id, wish, by="bob", reason="again")


async def test_a_paused_job_goes_on(store: Store) -> None:
    job, (one, *_) = await of_three(store)
    with pytest.raises(Conflict, match="running"):
        await store.order_job(job.id, JobOrder.RESUME, by="bob", reason="")
    await store.order_job(job.id, JobOrder.PAUSE, by="bob", reason="wait")
    resumed = await store.order_job(job.id[-8:], JobOrder.RESUME, by="ada", reason="go")
    assert resumed.state is JobState.RUNNING
    assert [told["by"] for told in resumed.orders] == ["bob", "ada"]
    with pytest.raises(Conflict, match="told to resume by ada since"):
        await store.order_job(job.id, JobOrder.CANCEL, by="eve", reason="no", seen=job)
    worked = await store.take_job_turn(job.id, 0)  # its progress is no order
    assert worked is not None
    await act(store, resumed, one)
    cancelled = await store.order_job(job.id, JobOrder.CANCEL, by="ada", reason="enough")
    assert (cancelled.done, cancelled.pending) == (1, 2)
    with pytest.raises(Conflict, match="cancelled"):
        await store.order_job(job.id, JobOrder.RESUME, by="ada", reason="go")
    with pytest.raises(NotFound):
        await store.order_job(new_id(), JobOrder.PAUSE, by="ada", reason="?")


async def test_a_turn_is_taken_once(store: Store, other: Store) -> None:
    job, _ = await of_three(store)
    taken = await asyncio.gather(*(s.take_job_turn(job.id, 0) for s in [store, other] * 4))
    assert [each.turn for each in taken if each is not None] == [1]
    assert await store.take_job_turn(job.id, 0) is None
    assert (await store.take_job_turn(job.id, 1)) is not None
    assert await store.take_job_turn(new_id(), 0) is None


async def test_a_job_is_done_when_nothing_is_pending(store: Store) -> None:
    job, opened = await of_three(store)
    for one in opened[:2]:
        await act(store, job, one)
    assert (await store.end_job_if_through(job.id)).state is JobState.RUNNING
    await store.refuse_item(JobItem(job_id=job.id, item=opened[2][0], outcome="gone"))
    ended = await store.end_job_if_through(job.id)
    assert (ended.state, ended.done, ended.refused) == (JobState.DONE, 2, 1)
    assert ended.ended_at is not None
    assert await store.end_job_if_through(job.id) == ended
    items = await store.job_items(job.id, after=opened[0][0], limit=1)
    assert [each.item for each in items] == [opened[1][0]]


async def test_silent_jobs_are_found_once(store: Store, other: Store) -> None:
    job, _ = await of_three(store)
    assert await store.take_silent_jobs(silent_seconds=60) == []
    found = await store.take_silent_jobs(silent_seconds=-1)
    assert [each.id for each in found] == [job.id]
    assert await other.take_silent_jobs(silent_seconds=60) == []
    assert await store.take_silent_jobs(silent_seconds=-1, limit=0) == []


async def runs_of(store: Store, many: int = 3, **changes: Any) -> list[str]:
    version = await published(store)
    made = [new_run(version, **changes) for _ in range(many)]
    await store.accept(made)
    return [each.id for each in made]


async def test_runs_are_chosen_when_a_job_is_accepted(store: Store) -> None:
    ids, others = await runs_of(store), await runs_of(store, 2, tenant="acme")
    pending = frozenset({RunStatus.PENDING})
    for which, wanted in [
        (RunFilter(limit=None), 5),
        (RunFilter(limit=1), 5),
        (RunFilter(status=pending), 5),
        (RunFilter(status=frozenset()), 0),
        (RunFilter(status=frozenset({RunStatus.ESCALATED, RunStatus.PARKED})), 0),
        (RunFilter(ids=(ids[0], others[1], "no")), 2),
        (RunFilter(ids=(ids[0], others[1]), tenant="acme", status=pending), 1),
        (RunFilter(ids=()), 0),
        (RunFilter(tenant="acme", workflow="order"), 2),
        (RunFilter(older_than_seconds=3600), 0),
        (RunFilter(older_than_seconds=-3600), 5),
        (RunFilter(younger_than_seconds=3600, status=pending), 5),
        (RunFilter(younger_than_seconds=-3600), 0),
    ]:
        assert await store.count_things(which) == wanted, which
        assert len(await store.runs(replace(which, limit=None))) == wanted, which

    made = await store.add_job(new_job(kind="runs.pause"), RunFilter(status=pending, limit=None))
    await runs_of(store, 2)
    assert made.total == 5
    assert [each.item for each in await store.job_items(made.id)] == sorted([*ids, *others])
    newest = await store.add_job(new_job(kind="runs.pause"), RunFilter(tenant="default", limit=1))
    assert newest.total == 1


async def test_a_job_is_on_so_many_at_most(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("orchestrator.store.jobs", "orchestrator.testing.memory.jobs"):
        monkeypatch.setattr(f"{module}.MOST_THINGS", 2)
    ids = await runs_of(store, 3)
    with pytest.raises(InvalidInput, match="more than 2"):
        await store.add_job(new_job(), RunFilter(limit=None))
    assert await store.jobs() == []
    assert (await store.add_job(new_job(), RunFilter(ids=tuple(ids[:2])))).total == 2


RunAct = Callable[[Store, str, JobItem], Awaitable[object]]


def _pause(store: Store, run_id: str, item: JobItem) -> Awaitable[object]:
    return store.pause(NewPause(id=new_id(), by="ada", reason="r", run_id=run_id), item=item)


def _cancel(store: Store, run_id: str, item: JobItem) -> Awaitable[object]:
    return store.request_cancel(run_id, mode=CancelMode.UNDO, reason="r", by="ada", item=item)


async def _end_pause(store: Store, run_id: str, item: JobItem) -> object:
    for each in await store.pauses():
        if each.run_id == run_id:
            return await store.end_pause(each.id, by="ada", reason="r", item=item)
    made = await store.pause(NewPause(id=new_id(), by="ada", reason="r", run_id=run_id))
    return await store.end_pause(made.id, by="ada", reason="r", item=item)


async def _rerun(store: Store, run_id: str, item: JobItem) -> object:
    old = await store.run(run_id)
    version = await store.workflow(old.workflow)
    wish = NewRerun(
        run=new_run(version), of=run_id, step="s1", by="ada", reason="r", links=(),
        saga=dataclasses.replace(Saga.new(version.plan), status=RunStatus.RUNNING),
    )  # fmt: skip
    return await store.accept_rerun(wish, item=item)


@pytest.mark.parametrize("act", [_pause, _cancel, _end_pause, _rerun])
async def test_an_act_on_a_run_and_its_item_are_one(store: Store, act: RunAct) -> None:
    ids = await runs_of(store)
    job = await store.add_job(new_job(kind="runs.some"), RunFilter(limit=None))
    items = [JobItem(job_id=job.id, item=known, outcome="so") for known in ids]
    await act(store, ids[0], items[0])
    found = await store.job_items(job.id, state=JobItemState.DONE)
    assert [(each.item, each.outcome) for each in found] == [(ids[0], "so")]
    # Whatever asks again for the same thing changes nothing: not the run, and no other one.
    await store.refuse_item(items[1])
    before = [await store.audit(known) for known in ids], len(await store.runs(RunFilter()))
    pauses = [each for each in await store.pauses() if each.run_id == ids[0]]
    with pytest.raises((JobHeld, Conflict)):
        await act(store, ids[0], items[0])
    if act is not _end_pause:  # which makes a pause first
        with pytest.raises(JobHeld):
            await act(store, ids[1], items[1])
        await store.order_job(job.id, JobOrder.PAUSE, by="bob", reason="wait")
        with pytest.raises(JobHeld, match="paused"):
            await act(store, ids[2], items[2])
        after = [await store.audit(known) for known in ids], len(await store.runs(RunFilter()))
        assert after == before
        assert [each for each in await store.pauses() if each.run_id == ids[0]] == pauses
    assert (await store.job(job.id)).done == 1
