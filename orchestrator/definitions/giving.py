"""Whose outputs a step uses, in whichever of its calls: what a branch has to be given for it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.core.plan import Plan, PlanStep
from orchestrator.definitions.blocks import is_head, with_given
from orchestrator.definitions.criteria import parse_criterion
from orchestrator.definitions.expressions import Expression, Root
from orchestrator.definitions.local import LocalStep
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.program import CompiledCall, compile_call


def completed(plan: Plan) -> Plan:
    """The plan whose blocks say what each of their branches needs to know."""
    return with_given(plan, used_by)


def used_by(step: PlanStep) -> set[str]:
    """Ids of the steps of which a step's calls speak, what undoes it among them.

    Of calls that cannot be read nothing: validation says so.
    """
    try:
        return {
            step.scope + each.step
            for each in _expressions_of(step)
            if each.root in (Root.STEPS, Root.WORKFLOWS)
        }
    except ExpressionError:
        return set()


def _expressions_of(step: PlanStep) -> Iterator[Expression]:
    if step.call.template.get("kind") == "unread":
        return
    if step.call.is_local:
        if not is_head(step.call):
            yield from (each for _, each in LocalStep(step.call, step.id).expressions())
        return
    undos = step.compensation.calls if step.compensation is not None else ()
    for call in (step.call, *undos):
        if call.template.get("kind") != "unread":
            yield from _of_call(compile_call(call))


def _of_call(compiled: CompiledCall) -> Iterator[Expression]:
    yield from (each for _, each in compiled.request.expressions())
    yield from (each for _, each in compiled.answers.expressions())
    for item in compiled.call.template.get("onlyIf", ()):
        yield from parse_criterion(item).expressions()
    if compiled.verify is not None:
        yield from _of_call(compiled.verify)
