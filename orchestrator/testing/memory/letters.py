"""Dead letters: claimed by one, closed by one; and what people decide about their runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import (
    EscalationFilter,
    EscalationRecord,
    JobItem,
    JobItemState,
    Redelivery,
    RunWrite,
)
from orchestrator.store.codec import storable
from orchestrator.testing.memory import jobs
from orchestrator.testing.memory.accepting import note, request_cancel
from orchestrator.testing.memory.journal import apply_decision
from orchestrator.testing.memory.records import conflict, escalation_of, not_found
from orchestrator.testing.memory.tables import EscalationRow, MemoryDatabase, RunRow


def claim_escalation(
    database: MemoryDatabase, escalation_id: str, *, by: str, for_seconds: float | None
) -> EscalationRecord:
    """Raises Conflict, NotFound."""
    row = _exact(database, escalation_id)
    if row.closed_at is not None or row.claimed_by is not None:
        raise _moved_on(row, "open and claimed by nobody")
    _take(database, row, by, for_seconds)
    return _noted(database, row, "escalation.claimed", by)


def assign_escalation(
    database: MemoryDatabase,
    escalation_id: str,
    *,
    to: str,
    by: str,
    for_seconds: float | None,
    seen: EscalationRecord | None,
) -> EscalationRecord:
    """Raises Conflict, NotFound."""
    row = _exact(database, escalation_id)
    _require_as_seen(database, row, seen)
    if row.closed_at is not None:
        raise _moved_on(row, "open")
    before = row.claimed_by
    _take(database, row, to, for_seconds)
    more = {"to": to, "from": before}
    return _noted(database, row, "escalation.assigned", by, **more)


def comment(database: MemoryDatabase, escalation_id: str, text: str, *, by: str) -> None:
    """Raises NotFound."""
    _noted(database, _exact(database, escalation_id), "escalation.commented", by, text=text)


def release_expired(database: MemoryDatabase, limit: int) -> list[EscalationRecord]:
    """Those whose claim has ended."""
    now = database.clock()
    rows = sorted(database.open_escalations.items())
    expired = [row for _, row in rows if row.claimed_until is not None and row.claimed_until <= now]
    given_back = []
    for row in expired[:limit]:
        more = {"from": row.claimed_by}
        row.claimed_by = row.claimed_at = row.claimed_until = None
        given_back.append(_noted(database, row, "escalation.claim_ended", "engine", **more))
    return given_back


def _take(
    database: MemoryDatabase, row: EscalationRow, who: str, for_seconds: float | None
) -> None:
    row.claimed_by, row.claimed_at = storable(who), database.clock()
    row.claimed_until = (
        None if for_seconds is None else row.claimed_at + timedelta(seconds=for_seconds)
    )


def release_escalation(
    database: MemoryDatabase, escalation_id: str, *, by: str, seen: EscalationRecord | None
) -> EscalationRecord:
    """Raises Conflict, NotFound."""
    row = _exact(database, escalation_id)
    _require_as_seen(database, row, seen)
    if row.closed_at is not None or row.claimed_by is None:
        raise _moved_on(row, "open and claimed")
    row.claimed_by = row.claimed_at = row.claimed_until = None
    return _noted(database, row, "escalation.released", by)


def _require_as_seen(
    database: MemoryDatabase, row: EscalationRow, seen: EscalationRecord | None
) -> None:
    if seen is not None and escalation_of(database, row) != seen:
        raise _moved_on(row, "as it was when it was read")


def act(
    database: MemoryDatabase,
    escalation_id: str,
    write: RunWrite,
    *,
    expected_epoch: int,
    resolution: str,
    by: str,
    reason: str,
    seen: EscalationRecord | None = None,
    item: JobItem | None = None,
) -> list[Redelivery]:
    """Close it and apply the run's write. Raises Conflict, NotFound; nothing is written then."""
    row = _exact(database, escalation_id)
    _require_as_seen(database, row, seen)
    if row.closed_at is not None:
        raise _moved_on(row, "open")
    if row.run_id != write.run_id:
        raise _moved_on(row, f"an escalation of run {write.run_id}")
    run = database.runs[row.run_id]
    if (run.status, run.owner, run.epoch) != (RunStatus.ESCALATED, None, expected_epoch):
        raise _run_moved_on(run, expected_epoch)
    now = database.clock()
    if item is not None:
        jobs.mark(database, item, JobItemState.DONE)
    row.closed_at, row.resolution = now, resolution
    row.closed_by, row.closing_reason = storable(by), storable(reason)
    del database.open_escalations[row.id]
    run.open_escalation = None
    apply_decision(database, run, write, now)
    return _stop_parts(database, run.id, reason=reason, by=by) if write.stops_parts else []


def _stop_parts(database: MemoryDatabase, run_id: str, *, reason: str, by: str) -> list[Redelivery]:
    """What a run waits for that a person ends stops where it is."""
    parts = [
        row.id for rows in database.awaited.values() for row in rows
        if row.parent_id == run_id and row.status not in SETTLED
    ]  # fmt: skip
    found = [
        request_cancel(database, part, mode=CancelMode.STOP, reason=reason, by=by)
        for part in sorted(parts)
    ]
    return [each for each in found if each is not None]


def chosen(database: MemoryDatabase, which: EscalationFilter) -> list[EscalationRecord]:
    """Those that the filter names, oldest first, whatever its limit says."""
    rows = database.open_escalations if which.open_only else database.escalations
    found = (escalation_of(database, rows[known]) for known in sorted(rows))
    fitting = [each for each in found if _fits(each, which, database.clock())]
    if which.order_by_due and which.due_seconds is not None:
        never = datetime.max.replace(tzinfo=UTC)
        fitting.sort(key=lambda each: (_due_at(each, which) or never, each.id))
    return fitting


def _due_at(each: EscalationRecord, which: EscalationFilter) -> datetime | None:
    known = which.due_seconds or {}
    seconds = each.due_seconds
    if seconds is None and each.severity is not None:
        seconds = known.get(each.severity)
    if seconds is None:
        seconds = known.get(each.reason)
    return None if seconds is None else each.opened_at + timedelta(seconds=seconds)


def _is_overdue(each: EscalationRecord, which: EscalationFilter, now: datetime) -> bool:
    due = _due_at(each, which)
    return due is not None and due <= now


def _fits(each: EscalationRecord, which: EscalationFilter, now: datetime) -> bool:
    age = (now - each.opened_at).total_seconds()
    return (
        which.tenant in (None, each.tenant)
        and which.workflow in (None, each.workflow)
        and which.api in (None, each.api)
        and which.step in (None, each.step_id)
        and which.reason in (None, each.reason)
        and which.claimed_by in (None, each.claimed_by)
        and which.claimed in (None, each.claimed_by is not None)
        and (which.ids is None or each.id in which.ids)
        and (which.detail is None or which.detail.lower() in each.detail.lower())
        and (which.older_than_seconds is None or age >= which.older_than_seconds)
        and (which.younger_than_seconds is None or age < which.younger_than_seconds)
        and (which.after is None or each.id > which.after)
        and (which.due_seconds is None or which.overdue in (None, _is_overdue(each, which, now)))
    )


def open_unclaimed(database: MemoryDatabase) -> list[str]:
    """Ids, oldest first."""
    rows = database.open_escalations.values()
    return sorted(row.id for row in rows if row.claimed_by is None)


def _exact(database: MemoryDatabase, escalation_id: str) -> EscalationRow:
    row = database.escalations.get(escalation_id)
    if row is None:
        raise not_found("escalation", escalation_id, "the whole id of an escalation")
    return row


def _noted(
    database: MemoryDatabase, row: EscalationRow, kind: str, by: str, **more: str | None
) -> EscalationRecord:
    run = database.runs[row.run_id]
    note(run, kind, by=by, data={"escalation": row.id, **more}, now=database.clock())
    return escalation_of(database, row)


def _moved_on(row: EscalationRow, wanted: str) -> Conflict:
    if row.closed_at is not None:
        found = f"closed ({row.resolution}) by {row.closed_by} at {row.closed_at}"
    elif row.claimed_by is not None:
        found = f"claimed by {row.claimed_by} at {row.claimed_at}"
    else:
        found = f"open and claimed by nobody, of run {row.run_id}"
    message = "the escalation has moved on"
    return conflict(message, place=f"escalation {row.id}", found=found, wanted=wanted)


def _run_moved_on(run: RunRow, expected: int) -> Conflict:
    owner = f"owned by {run.owner}" if run.owner else "unowned"
    return conflict(
        "the run has moved on since it was read", place=f"run {run.id}",
        found=f"{run.status}, epoch {run.epoch}, {owner}",
        wanted=f"{RunStatus.ESCALATED}, epoch {expected}, unowned",
    )  # fmt: skip
