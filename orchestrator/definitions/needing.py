"""Which steps a step cannot begin without: those whose outputs its expressions speak of."""

from __future__ import annotations

from orchestrator.core.plan import Plan, PlanStep
from orchestrator.definitions.actions import lead_elsewhere
from orchestrator.definitions.expressions import Root
from orchestrator.definitions.program import compile_call


def needs_of(plan: Plan) -> dict[int, frozenset[int]]:
    """By step, all before it whose outputs its request, criteria and actions use.

    A step that leads elsewhere, or that a called workflow brings, is taken to need all before it,
    and to be needed by all after it.
    """
    index = {step.id: number for number, step in enumerate(plan.steps)}
    found: dict[int, frozenset[int]] = {}
    knots: set[int] = set()
    for number, step in enumerate(plan.steps):
        if _is_knot(step):
            knots.add(number)
            found[number] = frozenset(range(number))
        else:
            used = {index[name] for name in _used(step) if name in index}
            found[number] = frozenset((used | knots) & {*range(number)})
    return found


def _is_knot(step: PlanStep) -> bool:
    return bool(step.scope) or step.call.is_local or lead_elsewhere(step.call.template)


def _used(step: PlanStep) -> set[str]:
    """Ids of steps."""
    compiled = compile_call(step.call)
    expressions = [*compiled.request.expressions(), *compiled.answers.expressions()]
    if compiled.verify is not None:
        expressions += [
            *compiled.verify.request.expressions(), *compiled.verify.answers.expressions()
        ]  # fmt: skip
    return {each.step for _, each in expressions if each.root in (Root.STEPS, Root.WORKFLOWS)}
