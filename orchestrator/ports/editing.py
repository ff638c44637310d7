"""Which steps of a run can still be given other values."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.states import SETTLED, Direction, LinkStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports.records import RunRecord, StepRecord


def not_begun(run: RunRecord, steps: Sequence[StepRecord], step: str) -> list[StepRecord]:
    """The visits of a step that lie ahead. Raises Conflict when there are none."""
    if not _goes_forward(run):
        raise _refused(run, step, f"a run that is {run.status}, going {run.direction}",
            "a run that goes forward")  # fmt: skip
    ahead = visits_ahead(run, steps, step)
    if not ahead:
        raise _refused(run, step, "the step has begun", "a step that has not begun")
    return ahead


def visits_ahead(run: RunRecord, steps: Sequence[StepRecord], step: str) -> list[StepRecord]:
    """Those of a step that has not begun; none where the run does not go forward."""
    return [
        each for each in steps
        if each.step_id == step and _goes_forward(run)
        and each.forward.link.status is LinkStatus.PENDING and not each.forward.link.attempts
    ]  # fmt: skip


def _goes_forward(run: RunRecord) -> bool:
    return run.status not in SETTLED and run.direction is not Direction.BACKWARD


def _refused(run: RunRecord, step: str, found: str, wanted: str) -> Conflict:
    problem = Problem(place=f"run {run.id}, step {step}", found=found, wanted=wanted)
    return Conflict("the step cannot be edited any more", problems=[problem])
