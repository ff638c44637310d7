"""A run whose definition may not be followed: a person has to see to it, and nothing is called."""

from __future__ import annotations

from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.definitions.program import Program
from orchestrator.engine.deps import Deps
from orchestrator.engine.driver import RunDriver
from orchestrator.errors import Untrusted
from orchestrator.ports import ClaimedRun, Hop, StepRecord


def distrustful(claimed: ClaimedRun, hop: Hop, deps: Deps, error: Untrusted) -> RunDriver:
    """A driver that escalates the run at once.

    It follows a plan that knows the steps' names and nothing else, so that not a word of the
    doubted one is believed.
    """
    known = {step.step_id: step for step in claimed.steps}
    most = max((claimed.run.path.steps if claimed.run.path else ()), default=len(known) - 1)
    steps = [_named(step) for step in known.values()]
    steps += [steps[-1]] * (most + 1 - len(steps)) if steps else []
    program = Program(Plan(workflow=claimed.run.workflow, steps=tuple(steps)))
    doubt = "; ".join([error.message, *(f"found {each.found}" for each in error.problems)])
    return RunDriver(claimed, hop, program, deps, doubt=doubt)


def _named(step: StepRecord) -> PlanStep:
    call = Call(label=step.label, api="", effects=Effects.NONE, template={"kind": "nothing"})
    return PlanStep(id=step.step_id, call=call)
