"""How a run begins that undoes what another one did."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import HAPPENED, Direction, RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    Beginning,
    ClaimedRun,
    LinkWrite,
    NewRun,
    RunRecord,
    StepRecord,
)
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.ports.maps import MapParent
from orchestrator.ports.records import PlaceInMap


def begin_undo_of(
    old: RunRecord, steps: Sequence[StepRecord], plan: Plan, parent: RunRecord | MapParent, *,
    run_id: str, in_map: PlaceInMap | None = None, traceparent: str | None = None,
    tracestate: str | None = None,
) -> tuple[NewRun, Beginning]:  # fmt: skip
    """A run of the same version that begins with what an ended one did, and turns back at once."""
    saga, links = turned_back(ClaimedRun(run=old, steps=tuple(steps)).saga(plan), steps, parent.id)
    new = NewRun(
        id=run_id, workflow_id=old.workflow_id, workflow=old.workflow, version=old.version,
        inputs=old.inputs, inputs_digest=hashlib.sha256(old.id.encode()).hexdigest(),
        idempotency_key=run_id, tenant=old.tenant, actor=parent.actor, lane=old.lane,
        priority=parent.priority, traceparent=traceparent, tracestate=tracestate,
        in_map=in_map,
    )  # fmt: skip
    return new, Beginning(saga=saga, links=links, undoes=(old.id,))


def turned_back(
    ended: Saga, steps: Sequence[StepRecord], for_run: str
) -> tuple[Saga, tuple[LinkWrite, ...]]:
    """How a run begins that undoes what an ended one did, and what it takes over of it.

    What was undone there already, by hand or by a person's word, stays so.
    """
    saga = replace(
        ended, status=RunStatus.COMPENSATING, direction=Direction.BACKWARD, cancel=None,
        deadline_at=None, wake_at=None, cause=f"undone with run {for_run}",
    )  # fmt: skip
    links = []
    for place, step in enumerate(steps):
        record = step.forward
        links.append(
            LinkWrite(
                step=place, direction=Direction.FORWARD, link=record.link, request=record.request,
                outputs=record.outputs, started_at=record.started_at,
                finished_at=record.finished_at,
            )
        )  # fmt: skip
        if record.link.status in HAPPENED and step.undo.link != Link():
            links.append(LinkWrite(step=place, direction=Direction.BACKWARD, link=step.undo.link))
    return saga, tuple(links)


def with_payloads(run: RunRecord) -> RunRecord:
    """The run, if it can still be undone. Raises Conflict."""
    if run.inputs == ERASED_INPUTS:
        wanted = "a run that still has its payloads"
        problem = Problem(place=f"run {run.id}", found="they were erased", wanted=wanted)
        raise Conflict("the child cannot be undone any more", problems=[problem])
    return run
