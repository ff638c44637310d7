"""A compensation with several cases: is there one for each way that the step may go?"""

from __future__ import annotations

from orchestrator.core.exchange import Facts
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Criterion, Step, criteria_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.expressions import Expression, Root
from orchestrator.definitions.scope import Scope


def check_cases(step: Step, notes: Notes) -> None:
    """Note the documented successes for which no case can hold, or that not every way has one."""
    cases = step.cases()
    if not cases or any(not case.value.get("onlyIf") for case in cases):
        return
    at = step.at.child("x-compensation", step.at.value["x-compensation"])
    outputs = _outputs_that_are_statuses(step)
    statuses = _successes(step)
    left = [s for s in statuses if not any(_may_hold(c, step.id, outputs, s) for c in cases)]
    if left:
        names = " or ".join(map(str, left))
        notes.add(
            "undo-case-missing", at, f"no case for the status {names}",
            f"a case for each success that {step.call.api.name if step.call.api else 'it'} has",
            fix=f'{{none: "why", onlyIf: [{{condition: … == {left[0]}}}]}}, or what undoes it',
        )  # fmt: skip
    elif not statuses or not all(_is_decided(case, step.id, outputs) for case in cases):
        notes.add(
            "undo-case-missing", at, "cases that may all fail to hold",
            "a last case without onlyIf: what undoes it else, or none with a reason",
        )  # fmt: skip


def _successes(step: Step) -> list[int]:
    """The documented ones; none where the document has ranges, or says nothing."""
    names = [s for s in (step.call.api.statuses if step.call.api else []) if s.startswith("2")]
    return [int(name) for name in names] if all(name.isdigit() for name in names) else []


def _outputs_that_are_statuses(step: Step) -> frozenset[str]:
    found = step.call.outputs()
    return frozenset(name for name, at in found.items() if at.value == "$statusCode")


def _may_hold(case: Cursor, step_id: str, outputs: frozenset[str], status: int) -> bool:
    facts = Facts(run_id="", inputs={}, outputs={step_id: dict.fromkeys(outputs, status)})
    return all(
        criterion.condition is None or criterion.condition.holds(Scope(facts))
        for criterion in criteria_of(case, "onlyIf")
        if _is_about_status(criterion, step_id, outputs)
    )


def _is_decided(case: Cursor, step_id: str, outputs: frozenset[str]) -> bool:
    """Whether the status alone says if it holds."""
    return all(_is_about_status(one, step_id, outputs) for one in criteria_of(case, "onlyIf"))


def _is_about_status(criterion: Criterion, step_id: str, outputs: frozenset[str]) -> bool:
    if criterion.condition is None:  # of another kind, or not to be read
        return False
    return all(_is_status(one, step_id, outputs) for one in criterion.condition.expressions())


def _is_status(expression: Expression, step_id: str, outputs: frozenset[str]) -> bool:
    return (
        expression.root is Root.STEPS
        and expression.step == step_id
        and expression.name in outputs
        and not expression.accessors
    )
