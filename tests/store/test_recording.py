"""The journal: fenced, whole, repeatable, and telling what others want of a run."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from orchestrator.core.events import CancelMode, Move
from orchestrator.core.saga import Link, StepState
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports import ClaimedRun, LinkWrite, RunWrite, Store, hop_id_of
from tests.store.making import (
    AT,
    YOU,
    B,
    F,
    attempt,
    audit,
    begun,
    claimed,
    escalation,
    landed,
    registered,
    request,
    saga,
    write,
)


def full_write(run: ClaimedRun) -> RunWrite:
    return write(
        run, links=(begun(0), landed(1)), attempts=(attempt(),), audit=(audit(2), audit(3)),
        escalation=escalation(), outputs={"total": 12.5}, cause="because", progressed=True,
        deadline_at=AT, cancel=CancelMode.STOP, direction=Direction.BACKWARD,
    )  # fmt: skip


async def test_everything_of_a_write_is_there(store: Store) -> None:
    (run,) = await claimed(store)
    given = full_write(run)
    (answer,) = await store.record([given])

    assert answer is not None
    assert answer.cancel is None
    found = await store.run(run.run.id)
    assert (found.status, found.direction) == (RunStatus.RUNNING, B)
    assert (found.cause, found.cancel, found.deadline_at) == ("because", CancelMode.STOP, AT)
    assert (found.outputs, found.claims, found.audit_seq) == ({"total": 12.5}, 0, 3)
    assert (found.owner, found.epoch) == (run.run.owner, 1)
    first, second, _ = await store.steps(run.run.id)
    assert (first.forward.request, first.forward.link) == (request(), begun(0).link)
    assert (second.forward.outputs, second.forward.link) == ({"id": "o-1"}, landed(1).link)
    assert tuple(await store.attempts(run.run.id)) == given.attempts
    assert tuple(await store.audit(run.run.id))[1:] == given.audit
    (opened,) = await store.escalations()
    assert given.escalation is not None
    assert (opened.id, opened.run_id, opened.step_id) == (given.escalation.id, run.run.id, "s2")
    assert opened.context == {"undone": ["s2"]}


async def test_the_way_of_a_run_that_jumped_is_there(store: Store) -> None:
    (run,) = await claimed(store)
    before = saga(run, status=RunStatus.RUNNING)
    path = before.path.jumped(before.plan, 1, Move(to=0, limit=3))
    assert path is not None
    jumped = replace(write(run), saga=before.jumped(1, path), links=(begun(2), landed(0)))
    assert await store.record([jumped]) != [None]
    await registered(store, YOU)
    await store.record([write(run, release=True)])  # a write that knows no way leaves it

    (again,) = await store.claim([(run.run.id, 1)], owner=YOU)
    assert (again.run.path, again.saga(before.plan).path) == (path, path)
    assert [(step.index, step.step_id, step.iteration) for step in again.steps] == [
        (0, "s1", 0), (1, "s2", 0), (2, "s1", 1), (3, "s2", 1), (4, "s3", 0)
    ]  # fmt: skip
    assert again.steps == await store.steps(run.run.id)
    assert again.steps[2].forward.link == begun(2).link


async def nothing_was_written(
    store: Store, run: ClaimedRun, *, owner: str, epoch: int, notes: Sequence[str] = ()
) -> None:
    found = await store.run(run.run.id)
    assert (found.owner, found.epoch, found.status) == (owner, epoch, RunStatus.PENDING)
    assert (found.cause, found.outputs, found.audit_seq) == ("", None, 1 + len(notes))
    assert all(
        s.forward.link == Link() and s.undo.link == Link() for s in await store.steps(found.id)
    )
    assert await store.attempts(found.id) == []
    assert [note.kind for note in await store.audit(found.id)] == ["run.accepted", *notes]
    assert await store.escalations_of(found.id) == []


@pytest.mark.parametrize("stale", ["epoch", "owner"])
async def test_a_stale_write_among_good_ones_writes_nothing_at_all(
    store: Store, stale: str
) -> None:
    runs = await claimed(store, 5)
    bad = runs[2]
    change = {"epoch": 0} if stale == "epoch" else {"owner": YOU}
    writes = [full_write(run) for run in runs]
    writes[2] = replace(writes[2], **change)

    answers = await store.record(writes)

    assert [answer is None for answer in answers] == [False, False, True, False, False]
    await nothing_was_written(store, bad, owner=str(bad.run.owner), epoch=1)
    for run in (*runs[:2], *runs[3:]):
        assert (await store.run(run.run.id)).status is RunStatus.RUNNING
        assert len(await store.attempts(run.run.id)) == 1


async def test_who_was_declared_dead_can_write_nothing(store: Store) -> None:
    (run,) = await claimed(store)
    await store.recover_dead(dead_after_seconds=60, also_dead=[str(run.run.owner)])
    await registered(store, YOU)
    await store.claim([(run.run.id, 2)], owner=YOU)

    assert await store.record([full_write(run)]) == [None]

    await nothing_was_written(store, run, owner=YOU, epoch=3, notes=["run.recovered"])


async def test_the_same_batch_again_changes_nothing(store: Store) -> None:
    """A commit whose answer was lost is simply made again."""
    runs = await claimed(store, 3)
    writes = [full_write(run) for run in runs]
    await store.record(writes)
    before = [await everything(store, run) for run in runs]

    answers = await store.record(writes)

    assert None not in answers
    assert [await everything(store, run) for run in runs] == before


async def test_a_write_that_comes_after_a_later_one_is_refused(store: Store) -> None:
    """Its sender gave it up when the connection was lost; the server had not, and ran it later."""
    (run,) = await claimed(store)
    late = write(run, number=1, links=(begun(0),), audit=(audit(2, "step.begun"),))
    await store.record([late])
    done = write(run, number=2, links=(landed(0),), audit=(audit(3, "step.landed"),), cause="done")
    await store.record([done])
    before = await everything(store, run)

    assert await store.record([late]) == [None]

    assert await everything(store, run) == before
    assert await store.record([done]) != [None]  # the same again, as after an unheard commit
    assert await everything(store, run) == before


async def everything(store: Store, run: ClaimedRun) -> tuple[object, ...]:
    run_id = run.run.id
    return (
        await store.run(run_id), await store.steps(run_id), await store.attempts(run_id),
        await store.audit(run_id), await store.escalations_of(run_id),
    )  # fmt: skip


async def test_two_writes_of_one_run_in_a_batch_apply_in_order(store: Store) -> None:
    (run, beside) = await claimed(store, 2)
    writes = [
        write(run, links=(begun(0),), audit=(audit(2),), cause="first"),
        write(beside, cause="beside"),
        write(run, links=(landed(0),), audit=(audit(3),), cause="second", release=True),
        write(run, cause="too late"),
    ]
    answers = await store.record(writes)
    assert [answer is None for answer in answers] == [False, False, False, True]
    found = await store.run(run.run.id)
    assert (found.cause, found.owner, found.audit_seq) == ("second", None, 3)
    assert (await store.steps(run.run.id))[0].forward.request == request()


async def test_a_link_twice_in_one_write_keeps_both_payloads(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, links=(begun(0), landed(0), begun(0, B)))])
    first = (await store.steps(run.run.id))[0]
    assert first.forward.link.status is LinkStatus.LANDED
    assert (first.forward.request, first.forward.outputs) == (request(), {"id": "o-1"})
    assert first.undo.link.status is LinkStatus.STARTED


async def test_none_leaves_payloads_and_times_but_not_the_link(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, links=(begun(0), landed(1)))])
    bare = [LinkWrite(step=n, direction=F, link=Link(doubt=True)) for n in (0, 1)]
    await store.record([write(run, links=tuple(bare))])
    first, second, _ = await store.steps(run.run.id)
    assert first.forward.link == second.forward.link == Link(doubt=True)
    assert (first.forward.request, first.forward.started_at) == (request(), AT)
    assert (second.forward.outputs, second.forward.finished_at) == ({"id": "o-1"}, AT)


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        (RunStatus.SUCCEEDED, True),
        (RunStatus.COMPENSATED, True),
        (RunStatus.ABANDONED, True),
        (RunStatus.ESCALATED, True),
        (RunStatus.RUNNING, False),
        (RunStatus.PAUSED, False),
    ],
)
async def test_settled_at_follows_the_status(
    store: Store, status: RunStatus, settled: bool
) -> None:
    (run,) = await claimed(store)
    before = await store.now()
    await store.record([write(run, status=status, release=True)])
    found = await store.run(run.run.id)
    assert (found.settled_at is not None) is settled
    if found.settled_at is not None:
        assert before - timedelta(milliseconds=1) <= found.settled_at <= await store.now()


async def test_a_settled_run_has_no_owner_even_if_its_writer_forgot(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, status=RunStatus.SUCCEEDED)])
    assert (await store.run(run.run.id)).owner is None


async def test_a_hop_sets_its_id_and_time(store: Store) -> None:
    (run,) = await claimed(store)
    on = saga(run, status=RunStatus.RUNNING)
    first = StepState(forward=landed().link)
    on = dataclasses.replace(on, steps=(first, *on.steps[1:]))
    await store.record([replace(write(run, release=True, hinted=True), saga=on)])
    found = await store.run(run.run.id)
    second = hop_id_of(run.run.id, (1, Direction.FORWARD))
    assert (found.hop_id, found.owner, found.epoch) == (second, None, 1)
    (again,) = await store.take_lost(silent_seconds=-1, limit=1)
    assert (again.hop_id, again.parent_hop_id) == (second, run.run.id)
    assert found.published_at is not None
    assert found.published_at > found.created_at


async def test_text_that_a_database_cannot_hold_does_not_stop_the_batch(store: Store) -> None:
    strange, beside = await claimed(store, 2)
    bad = "a\x00b \ud800 ž"
    writes = [
        write(
            strange, cause=bad, attempts=(replace(attempt(), reason=bad),),
            links=(replace(landed(0), outputs={"raw": bad}, error=bad),),
            audit=(audit(2, reason=bad),),
        ),
        write(beside, cause="fine"),
    ]  # fmt: skip
    assert None not in await store.record(writes)
    assert (await store.run(beside.run.id)).cause == "fine"
    assert (await store.run(strange.run.id)).cause.startswith("a\ufffdb ")
    link = (await store.steps(strange.run.id))[0].forward
    assert link.outputs == {"raw": bad}
    assert (await store.audit(strange.run.id))[1].data == {"reason": bad}


async def test_large_payloads(store: Store) -> None:
    (run,) = await claimed(store)
    outputs = {"text": "x" * 1_000_000}
    await store.record([write(run, links=(replace(landed(0), outputs=outputs),), outputs=outputs)])
    assert (await store.run(run.run.id)).outputs == outputs
    assert (await store.steps(run.run.id))[0].forward.outputs == outputs


async def test_the_answer_tells_of_a_wish_to_cancel(store: Store) -> None:
    runs = await claimed(store, 2)
    await store.request_cancel(runs[0].run.id, mode=CancelMode.UNDO, reason="wrong item", by="ada")
    first, second = await store.record([write(run) for run in runs])
    assert first is not None
    assert second is not None
    assert (first.cancel, first.cancel_reason) == (CancelMode.UNDO, "wrong item")
    assert second.cancel is None


async def test_a_run_does_not_wait_before_it_has_answered_a_wish(store: Store) -> None:
    """Else a wish that comes between two writes would wait as long as the run does."""
    runs = await claimed(store, 3)
    for run in runs:
        await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="r", by="ada")
    later = await store.now() + timedelta(hours=1)
    waits = [write(r, status=RunStatus.WAITING, wake_at=later, release=True) for r in runs]
    waits[1] = replace(waits[1], refuses_cancel=True)
    waits[2] = replace(waits[2], saga=dataclasses.replace(waits[2].saga, cancel=CancelMode.UNDO))

    unanswered, refused, taken_up = await store.record(waits)

    assert unanswered is not None
    assert unanswered.cancel is CancelMode.UNDO
    assert refused is not None
    assert refused.cancel is None
    assert taken_up is not None
    owners = [(await store.run(run.run.id)).owner for run in runs]
    assert owners == [runs[0].run.owner, None, None]
    (count,) = await store.queue_counts()
    assert (count.owned, count.parked) == (1, 2)
    (again,) = await store.record([write(runs[0], status=RunStatus.RUNNING, release=True)])
    assert again is not None
    assert again.cancel is CancelMode.UNDO


async def test_others_notes_move_the_owners_audit_numbers_on(store: Store) -> None:
    """The owner counts in memory; nobody's record is lost or numbered twice."""
    (run,) = await claimed(store)
    await store.record([write(run, audit=(audit(2, "step.begun"),))])
    await store.request_cancel(run.run.id, mode=CancelMode.UNDO, reason="r", by="ada")
    second = write(run, audit=(audit(3, "step.landed"), audit(4, "run.cancelled")))
    await store.record([second])
    await store.request_cancel(run.run.id, mode=CancelMode.STOP, reason="r", by="bob")
    await store.record([second])  # its answer was lost
    await store.record([write(run, audit=(audit(5, "undo.landed"),), release=True)])

    found = await store.audit(run.run.id)
    assert [record.seq for record in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [record.kind for record in found] == [
        "run.accepted", "step.begun", "run.cancel_requested", "step.landed", "run.cancelled",
        "run.cancel_requested", "undo.landed",
    ]  # fmt: skip
    assert (await store.run(run.run.id)).audit_seq == 7
    await registered(store, YOU)
    (again,) = await store.claim([(run.run.id, 1)], owner=YOU)
    assert again.run.audit_seq == 7
    await store.record([write(again, audit=(audit(8, "step.begun"),))])
    assert (await store.audit(run.run.id))[-1].seq == 8


async def test_overlapping_batches_in_any_order_all_get_through(store: Store, other: Store) -> None:
    runs = await claimed(store, 40)
    batches = [runs[n:] + runs[:n] for n in range(0, 40, 4)]
    answers = await asyncio.gather(
        *(
            (store, other)[n % 2].record([write(run, number=1, cause=str(n)) for run in batch])
            for n, batch in enumerate(batches)
        )
    )
    assert all(answer is not None for batch in answers for answer in batch)


async def test_recording_nothing_is_nothing(store: Store) -> None:
    assert await store.record([]) == []
