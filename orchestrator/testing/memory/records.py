"""From rows to the records of the ports, and the errors that name what was looked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.core.path import straight
from orchestrator.core.plan import Plan
from orchestrator.core.states import Direction
from orchestrator.errors import Conflict, NotFound, Problem
from orchestrator.ports import (
    AuditRecord,
    ClaimedRun,
    EscalationRecord,
    LinkRecord,
    Redelivery,
    RunRecord,
    StepRecord,
    WorkerRecord,
    is_urgent,
    untouched_steps,
)
from orchestrator.store.codec import load, load_optional
from orchestrator.testing.memory.tables import (
    AuditRow,
    EscalationRow,
    LinkRow,
    MemoryDatabase,
    RunRow,
    WorkerRow,
    place_of,
)


def run_of(row: RunRow) -> RunRecord:
    """A run's record."""
    return RunRecord(
        id=row.id, workflow_id=row.workflow_id, workflow=row.workflow, version=row.version,
        tenant=row.tenant, actor=row.actor, lane=row.lane, priority=row.priority,
        idempotency_key=row.idempotency_key, inputs=load(row.inputs), status=row.status,
        direction=row.direction, epoch=row.epoch, owner=row.owner, claims=row.claims,
        hop_id=row.hop_id, wake_at=row.wake_at, deadline_at=row.deadline_at,
        published_at=row.published_at, cancel=row.cancel, cause=row.cause,
        outputs=load_optional(row.outputs), created_at=row.created_at, started_at=row.started_at,
        settled_at=row.settled_at, audit_seq=row.audit_seq, path=row.path,
        rerun_of=row.rerun_of, traceparent=row.traceparent, tracestate=row.tracestate,
        parent_id=row.parent_id, wait_id=row.wait_id, depth=row.depth,
        branch=row.branch, whole_id=row.whole_id, map_id=row.map_id, item=row.item,
    )  # fmt: skip


def blank_steps(plan: Plan) -> tuple[StepRecord, ...]:
    """All steps of the straight way, as nothing has happened to them."""
    return untouched_steps(plan, straight(plan))


def steps_of(database: MemoryDatabase, row: RunRow) -> tuple[StepRecord, ...]:
    """All steps of a run, in order of its chain."""
    blank = database.blank_steps[row.workflow_id]
    if row.path is not None:
        blank = untouched_steps(database.version_by_id[row.workflow_id].plan, row.path)
    if not row.links:
        return blank
    return tuple(_step_of(step, row.links) for step in blank)


def _step_of(blank: StepRecord, links: dict[int, LinkRow]) -> StepRecord:
    forward = links.get(place_of(blank.index, Direction.FORWARD))
    undo = links.get(place_of(blank.index, Direction.BACKWARD))
    if forward is undo is None:
        return blank
    return StepRecord(
        index=blank.index, step_id=blank.step_id, label=blank.label, iteration=blank.iteration,
        version=blank.version,
        forward=blank.forward if forward is None else _link_of(forward),
        undo=blank.undo if undo is None else _link_of(undo),
    )  # fmt: skip


def _link_of(row: LinkRow) -> LinkRecord:
    return LinkRecord(
        link=row.link, request=row.request, outputs=load_optional(row.outputs), error=row.error,
        started_at=row.started_at, finished_at=row.finished_at,
    )  # fmt: skip


def claimed_of(database: MemoryDatabase, row: RunRow) -> ClaimedRun:
    """A run with its steps."""
    return ClaimedRun(run=run_of(row), steps=steps_of(database, row))


def audit_of(row: AuditRow) -> AuditRecord:
    """An audit record."""
    return AuditRecord(seq=row.seq, at=row.at, kind=row.kind, actor=row.actor, data=load(row.data))


def escalation_of(database: MemoryDatabase, row: EscalationRow) -> EscalationRecord:
    """A dead letter, with what it shows of its run."""
    run = database.runs[row.run_id]
    return EscalationRecord(
        id=row.id, run_id=row.run_id, workflow=run.workflow, tenant=run.tenant, reason=row.reason,
        detail=row.detail, step=row.step, step_id=row.step_id, direction=row.direction,
        context=load(row.context), opened_at=row.opened_at, claimed_by=row.claimed_by,
        claimed_at=row.claimed_at, closed_at=row.closed_at, resolution=row.resolution,
        closed_by=row.closed_by, closing_reason=row.closing_reason, api=row.api,
        claimed_until=row.claimed_until, severity=row.severity, due_seconds=row.due_seconds,
    )  # fmt: skip


def worker_of(row: WorkerRow) -> WorkerRecord:
    """A worker's record."""
    return WorkerRecord(
        id=row.id, name=row.name, pid=row.pid, started_at=row.started_at,
        heartbeat_at=row.heartbeat_at, active_runs=row.active_runs, reserved=row.reserved,
        version=row.version,
    )  # fmt: skip


def redelivery_of(row: RunRow, why: str, now: datetime) -> Redelivery:
    """A wake-up for a run as it stands."""
    left = None if row.deadline_at is None else (row.deadline_at - now).total_seconds()
    return Redelivery(
        run_id=row.id, epoch=row.epoch, hop_id=row.hop_id, parent_hop_id=row.parent_hop_id,
        lane=row.lane, direction=row.direction, step=row.step, workflow_id=row.workflow_id,
        why=why, urgent=is_urgent(row.priority, left),
    )  # fmt: skip


# --- errors ---------------------------------------------------------------------------------------


def not_found(what: str, found: str, wanted: str) -> NotFound:
    """A NotFound that names place, found and wanted."""
    problem = Problem(place=what, found=found, wanted=wanted)
    return NotFound(f"no such {what}: {found}", problems=[problem])


def conflict(message: str, *, place: str, found: str, wanted: str) -> Conflict:
    """A Conflict that names place, found and wanted."""
    problem = Problem(place=place, found=found, wanted=wanted)
    return Conflict(message, problems=[problem])


def row_like(rows: dict[str, Any], part: str, what: str) -> Any:
    """The one row whose id is, begins or ends with `part` (6 characters or more).

    Raises NotFound.
    """
    part = part.strip().lower()
    exact = rows.get(part)
    if exact is not None:
        return exact
    if not 6 <= len(part) < 36 or not set(part) <= set("0123456789abcdef-"):
        raise not_found(what, part, "an id, or 6 characters of its begin or end")
    fit = sorted(each for each in rows if each.startswith(part))
    fit = fit or sorted(each for each in rows if each.endswith(part))
    if not fit:
        raise not_found(what, part, "the id of one that exists")
    if len(fit) > 1:
        problem = Problem(
            place=what, found=f"{part}, which fits {', '.join(fit[:3])}",
            wanted="more characters, so that one is left",
        )  # fmt: skip
        raise NotFound(f"several fit {part}", problems=[problem])
    return rows[fit[0]]
