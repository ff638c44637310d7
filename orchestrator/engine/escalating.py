"""What a person needs in order to decide about a run that stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.saga import Escalate, Saga, standing, undo_order
from orchestrator.core.severity import Severity
from orchestrator.core.states import DONE, HAPPENED, Direction, LinkStatus
from orchestrator.ports import EscalationRecord, NewEscalation, RunRecord, StepRecord
from orchestrator.telemetry.redact import hidden


def new_escalation(
    command: Escalate, saga: Saga, steps: Sequence[StepRecord], *, new_id: Callable[[], str],
    urgency: tuple[Severity | None, float | None] = (None, None),
) -> NewEscalation:  # fmt: skip
    """The escalation with what is known done, undone and unknown, and what each choice would do."""
    return NewEscalation(
        id=new_id(),
        reason=command.reason,
        detail=command.detail,
        step=command.step,
        direction=command.direction,
        context=hidden(_context(command, saga, steps)),
        api=None if command.step is None else saga.call(command.step, command.direction).api,
        severity=urgency[0],
        due_seconds=urgency[1],
    )


def as_record(
    escalation: NewEscalation, run: RunRecord, saga: Saga, opened_at: datetime
) -> EscalationRecord:
    """The open, unclaimed record of an escalation that was just committed."""
    step = escalation.step
    return EscalationRecord(
        id=escalation.id,
        run_id=run.id,
        workflow=run.workflow,
        tenant=run.tenant,
        reason=escalation.reason,
        detail=escalation.detail,
        step=step,
        step_id=None if step is None else saga.plan_step(step).id,
        direction=escalation.direction,
        context=escalation.context,
        opened_at=opened_at,
        claimed_by=None,
        claimed_at=None,
        closed_at=None,
        resolution=None,
        closed_by=None,
        closing_reason=None,
        api=escalation.api,
        severity=escalation.severity,
        due_seconds=escalation.due_seconds,
    )


def _context(command: Escalate, saga: Saga, steps: Sequence[StepRecord]) -> dict[str, Any]:
    return {
        "cause": saga.cause,
        "stuck": _stuck(command, steps),
        "standing": [_standing(steps[step]) for step in standing(saga)],
        "undone": [step.step_id for step in steps if step.undo.link.status in HAPPENED],
        "unknown": [step.step_id for step in steps if _is_unknown(step)],
        "would_undo": _remaining(saga),
    }


def _stuck(command: Escalate, steps: Sequence[StepRecord]) -> dict[str, Any] | None:
    if command.step is None:
        return None
    step = steps[command.step]
    forward = command.direction is Direction.FORWARD
    link = step.forward if forward else step.undo
    return {
        "step": step.step_id,
        "label": step.label,
        "direction": command.direction,
        "attempts": link.link.attempts,
        "error": link.error,
        "request": None if link.request is None else link.request.to_json(),
    }


def _standing(step: StepRecord) -> dict[str, Any]:
    request = step.forward.request
    return {
        "step": step.step_id,
        "outputs": step.forward.outputs,
        "request": None if request is None else f"{request.method} {request.target}",
    }


def _is_unknown(step: StepRecord) -> bool:
    """An attempt may have left and nothing has told what became of it."""
    return any(
        link.doubt or link.status in (LinkStatus.UNKNOWN, LinkStatus.STARTED)
        for link in (step.forward.link, step.undo.link)
    )


def _remaining(saga: Saga) -> list[str]:
    """Steps whose compensations are still to run, in their order."""
    return [
        saga.plan_step(step).id
        for step in undo_order(saga)
        if saga.steps[step].undo.status not in DONE and saga.has_call(step, Direction.BACKWARD)
    ]
