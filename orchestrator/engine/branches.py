"""Branches of a parallel block as runs: how each begins, and the one run that undoes them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core import blocks
from orchestrator.core.blocks import FORK_METHOD, GIVEN_METHOD, Visit
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import Call, Plan
from orchestrator.core.saga import Link, Saga, StepState
from orchestrator.core.states import Direction
from orchestrator.definitions.blocks import Fail, shown_name
from orchestrator.ports import Beginning, LinkWrite, NewChild, NewRun, RunRecord, StepRecord
from orchestrator.ports.records import outputs_of


def begin_branch(
    parent: RunRecord, plan: Plan, head: int, call: Call, request: FrozenRequest, *,
    run_id: str, now: datetime, deadline_seconds: float | None,
) -> NewChild:  # fmt: skip
    """A branch of the block that this run has come to.

    It has the run's inputs, and outputs of the steps before the block as those of its head.
    """
    name = plan.steps[head].id
    given: Mapping[str, Any] = json.loads(request.body).get(name, {})
    saga = blocks.branch(plan, head)
    link = LinkWrite(
        step=0, direction=Direction.FORWARD, link=saga.steps[0].forward, outputs=given,
        request=FrozenRequest(method=GIVEN_METHOD, target=name), started_at=now, finished_at=now,
    )  # fmt: skip
    run = part_of(parent, run_id, deadline_seconds=deadline_seconds)
    return NewChild(
        run=run, depth=parent.depth + 1, answers=True,
        begins=Beginning(saga=saga, links=(link,)), branch=shown_name(plan, head),
        whole_id=parent.whole_id or parent.id, fails_fast=_fails_fast(plan, head, call),
    )  # fmt: skip


def _fails_fast(plan: Plan, head: int, call: Call) -> bool:
    """Behind the pivot there is no way back, so none is cancelled for another one."""
    return call.template["fail"] == Fail.FAST and not plan.steps[head].pivot


Ended = tuple[RunRecord, Sequence[StepRecord]]
"""A branch that has ended, with what it did."""


def begin_undo(
    parent: RunRecord, plan: Plan, block: str, ended: Sequence[Ended], *, run_id: str
) -> NewChild:
    """The run that undoes what the branches of a block did, latest completion first."""
    steps = {(branch, each.index): each for branch, (_, own) in enumerate(ended) for each in own}
    order = blocks.merged([list(_visits(branch, *each)) for branch, each in enumerate(ended)])
    saga = blocks.turned_back(plan, order, f"undone with run {parent.id}")
    links = tuple(
        write
        for place, visit in enumerate(order)
        for write in _taken_over(place, saga, steps[visit.branch, visit.position])
    )
    undoes = tuple(run.id for run, _ in ended)
    return NewChild(
        run=part_of(parent, run_id, of=ended[0][0]), depth=parent.depth + 1, answers=True,
        branch=block,
        begins=Beginning(saga=saga, links=links, undoes=undoes),
        whole_id=parent.whole_id or parent.id,
    )  # fmt: skip


def part_of(
    parent: RunRecord, run_id: str, *, deadline_seconds: float | None = None,
    of: RunRecord | None = None,
) -> NewRun:  # fmt: skip
    """A run with the same inputs, of the same version or the one that another run follows."""
    known = of or parent
    return NewRun(
        id=run_id, workflow_id=known.workflow_id, workflow=parent.workflow,
        version=known.version, inputs=parent.inputs,
        inputs_digest=hashlib.sha256(parent.id.encode()).hexdigest(), idempotency_key=run_id,
        tenant=parent.tenant, actor=parent.actor, lane=parent.lane, priority=parent.priority,
        deadline_seconds=deadline_seconds,
        traceparent=parent.traceparent, tracestate=parent.tracestate,
    )  # fmt: skip


def outputs_of_branch(steps: Sequence[StepRecord]) -> dict[str, Mapping[str, Any]]:
    """What a branch gave, by step: all of its own, and in place of an inner block its steps'."""
    own = steps[1:]
    found = outputs_of(own)
    for step in own:
        request = step.forward.request
        if request is not None and request.method == FORK_METHOD:
            found.pop(step.step_id, None)
    return found


def _visits(branch: int, run: RunRecord, steps: Sequence[StepRecord]) -> Iterator[Visit]:
    assert run.path is not None, "the way of a branch is never the straight one"
    for step in steps:
        yield Visit(
            branch=branch, position=step.index, step=run.path.steps[step.index],
            state=StepState(forward=step.forward.link, undo=step.undo.link),
            finished_at=step.forward.finished_at,
        )  # fmt: skip


def _taken_over(place: int, saga: Saga, step: StepRecord) -> Iterator[LinkWrite]:
    record, state = step.forward, saga.steps[place]
    yield LinkWrite(
        step=place, direction=Direction.FORWARD, link=state.forward, request=record.request,
        outputs=record.outputs, started_at=record.started_at, finished_at=record.finished_at,
    )  # fmt: skip
    if state.undo != Link():
        yield LinkWrite(step=place, direction=Direction.BACKWARD, link=state.undo)
