"""Branches of a block: begun with a wait, told to their parent, cancelled where one has failed."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.ports import (
    Asks,
    Awaiting,
    ClaimedRun,
    NewChild,
    NewPause,
    NewRun,
    Store,
    WaitRecord,
)
from tests.store.making import ME, claimed, escalation, new_id, write
from tests.store.test_waiting import wait

NAMES = ("a", "b", "c")


def branch(run: ClaimedRun, name: str, *, fails_fast: bool) -> NewChild:
    parent = run.run
    run_id = new_id()
    made = NewRun(
        id=run_id, workflow_id=parent.workflow_id, workflow=parent.workflow,
        version=parent.version, inputs=parent.inputs, inputs_digest="of a part",
        idempotency_key=run_id, tenant=parent.tenant,
    )  # fmt: skip
    return NewChild(
        run=made, depth=1, answers=True, branch=f"fan/{name}", whole_id=parent.id,
        fails_fast=fails_fast,
    )  # fmt: skip


async def forked(
    store: Store, *, fails_fast: bool = True
) -> tuple[ClaimedRun, WaitRecord, list[str]]:
    """A run asleep at a block of three branches, none of which was taken up."""
    (run,) = await claimed(store)
    made = [branch(run, name, fails_fast=fails_fast) for name in NAMES]
    new = wait(run, asks=Asks.BLOCK, signal=None, asked={"branches": list(NAMES)})
    given = write(run, status=RunStatus.WAITING, wake_at=await store.now(), release=True)
    (found,) = await store.await_answers([Awaiting(wait=new, write=given, children=tuple(made))])
    assert found is not None
    return run, found.wait, [each.run.id for each in made]


async def end(store: Store, run_id: str, status: RunStatus, cause: str = "") -> None:
    (taken,) = await store.claim([(run_id, 0)], owner=ME)
    await store.record([write(taken, status=status, cause=cause, release=True)])


async def test_branches_say_whose_parts_they_are(store: Store) -> None:
    run, opened, branches = await forked(store)
    for run_id, name in zip(branches, NAMES, strict=True):
        found = await store.run(run_id)
        assert (found.branch, found.whole_id) == (f"fan/{name}", run.run.id)
        assert (found.parent_id, found.wait_id) == (run.run.id, opened.id)
        begun = [each for each in await store.audit(run_id) if each.kind == "run.child_of"]
        assert [each.data["branch"] for each in begun] == [f"fan/{name}"]
    whole = await store.run(run.run.id)
    assert (whole.branch, whole.whole_id) == (None, None)


async def test_the_last_end_is_told_with_all_of_them(store: Store) -> None:
    run, opened, (a, b, c) = await forked(store)
    await end(store, b, RunStatus.SUCCEEDED)
    await end(store, a, RunStatus.ABANDONED, "422")
    assert await store.tell_parents([opened.id]) == []
    assert await store.untold_children() == []
    await end(store, c, RunStatus.SUCCEEDED)
    assert await store.untold_children() == [opened.id]
    (redelivery,) = await store.tell_parents([opened.id])
    assert redelivery.run_id == run.run.id
    (closed,) = await store.waits_of(run.run.id)
    assert closed.answer is not None
    told = [(each["branch"], each["status"], each["cancelled"]) for each in closed.answer["runs"]]
    assert told == [("a", "abandoned", False), ("b", "succeeded", False), ("c", "succeeded", False)]


async def test_others_are_cancelled_where_one_has_failed(store: Store) -> None:
    _, opened, (a, b, c) = await forked(store)
    assert await store.cancel_forsaken() == []
    await end(store, b, RunStatus.SUCCEEDED)
    assert await store.cancel_forsaken(opened.id) == []
    await end(store, a, RunStatus.ABANDONED, "422")
    assert await store.cancel_forsaken(new_id()) == []
    (redelivery,) = await store.cancel_forsaken(opened.id)
    assert (redelivery.run_id, redelivery.why) == (c, "cancelled")
    wished = [each for each in await store.audit(c) if each.kind == "run.cancel_requested"]
    assert [(each.actor, each.data["reason"]) for each in wished] == [
        ("engine", "branch a failed: 422")
    ]
    assert await store.cancel_forsaken() == []


async def test_the_sweep_cancels_what_nobody_else_has(store: Store) -> None:
    _, _, (a, b, c) = await forked(store)
    await end(store, a, RunStatus.COMPENSATED, "cancelled")
    await store.request_cancel(b, mode=CancelMode.UNDO, reason="no", by="ada")
    assert [each.run_id for each in await store.cancel_forsaken()] == [c]


async def test_one_that_collects_lets_them_go_on(store: Store) -> None:
    _, _, (a, _, _) = await forked(store, fails_fast=False)
    await end(store, a, RunStatus.ABANDONED, "422")
    assert await store.cancel_forsaken() == []


async def test_one_that_waits_for_a_person_is_left_to_them(store: Store) -> None:
    _, _, (a, b, c) = await forked(store)
    await end(store, b, RunStatus.ESCALATED)
    await end(store, a, RunStatus.ABANDONED, "422")
    assert [each.run_id for each in await store.cancel_forsaken()] == [c]


async def test_a_pause_of_the_run_stops_its_branches(store: Store) -> None:
    run, _, (a, _, _) = await forked(store)
    (other,) = await claimed(store)
    pause = await store.pause(NewPause(id=new_id(), by="ada", reason="a look", run_id=run.run.id))
    assert await store.claim([(a, 0)], owner=ME) == []
    assert await store.hold_paused([(a, 0), (other.run.id, other.run.epoch)]) == [a]
    assert (await store.run(a)).status is RunStatus.PAUSED
    assert await store.release_paused() == []
    await store.end_pause(pause.id, by="ada", reason="seen")
    assert a in [each.run_id for each in await store.release_paused()]


async def test_whoever_abandons_a_run_stops_what_it_waits_for(store: Store) -> None:
    run, _, (a, b, c) = await forked(store, fails_fast=False)
    await end(store, a, RunStatus.SUCCEEDED)
    (owned,) = await store.claim([(b, 0)], owner=ME)
    (taken,) = await store.claim([(run.run.id, 1)], owner=ME)
    stuck = write(taken, status=RunStatus.ESCALATED, release=True, escalation=escalation(None))
    await store.record([stuck])
    (opened,) = await store.escalations_of(run.run.id)
    given_up = replace(
        write(taken, status=RunStatus.ABANDONED, release=True), owner="", epoch=9, stops_parts=True
    )
    found = await store.act(
        opened.id, given_up, expected_epoch=taken.run.epoch, resolution="abandoned", by="ada",
        reason="nobody needs it",
    )  # fmt: skip
    assert [each.run_id for each in found] == [c], "the other one's owner is told"
    (told,) = await store.record([write(owned)])
    assert told is not None
    assert (told.cancel, told.cancel_reason) == (CancelMode.STOP, "nobody needs it")
    asked = [await store.audit(each) for each in (a, b, c)]
    assert [[each.actor for each in audit if each.kind == "run.cancel_requested"]
            for audit in asked] == [[], ["ada"], ["ada"]]  # fmt: skip
