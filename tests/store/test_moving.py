"""Runs that are moved while they wait: in one transaction, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as changed

from orchestrator.core.deciding import decide
from orchestrator.core.events import CancelMode, Migrated
from orchestrator.core.joining import joined_id
from orchestrator.core.saga import Link
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import ClaimedRun, LinkWrite, Store
from orchestrator.ports.moving import RunMove
from tests.store.making import AT, ME, claimed, plan, request, write

F = Direction.FORWARD


async def asleep(store: Store) -> tuple[str, ClaimedRun]:
    """A run that waits at its first step, for a second try, as it is read."""
    (mine,) = await claimed(store)
    tried = LinkWrite(
        step=0, direction=F, started_at=AT, request=request(),
        link=Link(attempts=1, first_started_at=AT),
    )  # fmt: skip
    until = await store.now() + timedelta(hours=1)
    asleep = write(mine, status=RunStatus.WAITING, wake_at=until, release=True, links=(tried,))
    await store.record([asleep])
    run = await store.run(mine.run.id)
    assert (run.status, run.owner) == (RunStatus.WAITING, None)
    return run.id, ClaimedRun(run=run, steps=await store.steps(run.id))


async def a_move(store: Store, read: ClaimedRun, *, keeps: bool = False, **more: Any) -> RunMove:
    """To a version with one step more, at its second step."""
    version, _ = await store.publish(plan(steps=4, digest="digest-2"), document="", by="ada")
    to = joined_id(version.id, read.run.workflow_id)
    saga = read.saga((await store.workflow_by_id(read.run.workflow_id)).plan)
    both = (await store.workflow_by_id(to)).plan
    event = Migrated(to=to, step=0 if keeps else 1, keeps=keeps, plan=both)
    after = decide(saga, event, AT).saga
    move = RunMove(
        run=read.run, workflow_id=to, version=version.version, saga=after, keeps=keeps,
        links=() if keeps else (LinkWrite(step=0, direction=F, link=after.link(0, F)),),
        ahead=1, inputs={"item": "pen"}, by="ada", data={"to": 2},
    )  # fmt: skip
    return changed(move, **more)


async def test_a_run_goes_on_by_another_version(store: Store) -> None:
    run_id, read = await asleep(store)
    found = await store.migrate_run(await a_move(store, read))
    assert found is not None
    assert (found.run_id, found.epoch, found.why) == (run_id, read.run.epoch, "migrated")
    run = await store.run(run_id)
    assert (run.status, run.version, run.wake_at) == (RunStatus.RUNNING, 2, None)
    assert run.inputs == {"item": "pen"}
    assert run.published_at is not None
    steps = await store.steps(run_id)
    assert [(step.step_id, step.version) for step in steps] == [
        ("s1", 1), ("s2", 2), ("s3", 2), ("s4", 2),
    ]  # fmt: skip
    assert steps[0].forward.link.status is LinkStatus.HANDLED
    (told,) = [each for each in await store.audit(run_id) if each.kind == "run.migrated"]
    assert (told.actor, told.data) == ("ada", {"to": 2})
    (again,) = await store.claim([(run_id, run.epoch)], owner=ME)
    assert again.run.workflow_id == run.workflow_id
    both = (await store.workflow_by_id(run.workflow_id)).plan
    assert again.saga(both).plan_step(1).id == "s2"


async def test_a_run_that_is_kept_waits_on(store: Store) -> None:
    run_id, read = await asleep(store)
    assert await store.migrate_run(await a_move(store, read, keeps=True)) is None
    run = await store.run(run_id)
    assert (run.status, run.wake_at) == (RunStatus.WAITING, read.run.wake_at)
    before, after = read.steps[0].forward, (await store.steps(run_id))[0].forward
    assert after == before


async def test_nothing_is_written_of_one_that_has_moved_on(store: Store) -> None:
    run_id, read = await asleep(store)
    move = await a_move(store, read)
    before = await store.run(run_id)
    for run, found in (
        (changed(read.run, audit_seq=read.run.audit_seq - 1), "audit record"),
        (changed(read.run, status=RunStatus.PARKED), "waiting"),
    ):
        with pytest.raises(Conflict, match=found):
            await store.migrate_run(changed(move, run=run))
    assert await store.run(run_id) == before
    await store.request_cancel(run_id, mode=CancelMode.UNDO, reason="enough", by="ada")
    with pytest.raises(Conflict, match="it is to be cancelled"):
        await store.migrate_run(move)
    assert (await store.run(run_id)).version == 1


async def test_a_run_is_known_by_all_versions_that_it_followed(store: Store) -> None:
    _, read = await asleep(store)
    move = await a_move(store, read)
    found = await store.workflow_by_id(move.workflow_id)
    assert (found.id, found.version) == (move.workflow_id, 2)
    assert [each.version for each in found.parts] == [2, 1]
    assert found.key_id is None
    assert len(found.plan.steps) == 7
    assert len(await store.versions("order")) == 2
    assert replace(found.plan, digest="") == replace(move.saga.plan, digest="")
