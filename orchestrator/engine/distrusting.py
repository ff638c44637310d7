"""A run whose definition may not be followed: a person has to see to it, and nothing is called."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.definitions.program import Program
from orchestrator.engine.deps import Deps
from orchestrator.engine.driver import RunDriver
from orchestrator.errors import Untrusted
from orchestrator.ports import ClaimedRun, Hop, StepRecord
from orchestrator.telemetry.redact import HIDDEN


def distrustful(claimed: ClaimedRun, hop: Hop, deps: Deps, error: Untrusted) -> RunDriver:
    """A driver that escalates the run at once.

    It follows a plan that knows the steps' names and nothing else, so that not a word of the
    doubted one is believed.
    """
    program = Program(claimed.outline())
    doubt = "; ".join([error.message, *(str(each) for each in error.problems)])
    shown = replace(claimed, steps=tuple(_veiled(step) for step in claimed.steps))
    return RunDriver(shown, hop, program, deps, doubt=doubt)


def _veiled(step: StepRecord) -> StepRecord:
    """As it may stand in an escalation: which values are secret is told by the plan.

    The links themselves are as they were, so nothing of this is written over what they hold.
    """
    if step.forward.outputs is None:
        return step
    outputs = dict.fromkeys(step.forward.outputs, HIDDEN)
    return replace(step, forward=replace(step.forward, outputs=outputs))
