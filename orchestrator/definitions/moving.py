"""Whether a run can go on by another version of its workflow, judged by what it has recorded.

Nothing here asks whether the run waits: that is the core's word (`core.joining`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.exchange import Facts
from orchestrator.core.path import chain
from orchestrator.core.plan import Effects, Plan, PlanStep
from orchestrator.core.saga import Saga, begun, current
from orchestrator.core.states import HAPPENED
from orchestrator.definitions.actions import Places
from orchestrator.definitions.blocks import branches_of
from orchestrator.definitions.expressions import Expression, Root, compile_value
from orchestrator.definitions.flow import Flow
from orchestrator.definitions.local import LocalStep
from orchestrator.definitions.program import compile_call
from orchestrator.definitions.validation import calls_of, expressions_of, past_pivot
from orchestrator.errors import Problem

MOST_KNOWN = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a run is to go on."""

    plan: Plan  # of the version, joined to nothing
    version: int
    step: int  # of it
    needs: tuple[Need, ...]  # of that step and those that may follow

    @property
    def step_id(self) -> str:
        """The id of that step."""
        return self.plan.steps[self.step].id


@dataclass(frozen=True, slots=True)
class Need:
    """An output that a step reads and that nothing gives on every way to it from there."""

    step_id: str
    source: str  # the step that would have given it
    expression: Expression


class Needs:
    """What is needed to go on at a step of a version; worked out once, for many runs."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[Need, ...]] = {}

    def of(self, workflow_id: str, plan: Plan, step: int) -> tuple[Need, ...]:
        """Of the plan of a published version."""
        key = (workflow_id, step)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[key] = tuple(dict.fromkeys(_needed(plan, step)))
        return found


def target(
    workflow_id: str, plan: Plan, version: int, step: str | None, saga: Saga, needs: Needs
) -> Target | Problem:
    """The step with this id; without one, that at which the run waits."""
    at = current(saga)
    name = step or ("" if at is None else saga.plan_step(at[0]).id)
    inside = {each for steps in branches_of(plan).values() for each in steps}
    usable = [
        each.id for index, each in enumerate(plan.steps)
        if not each.scope and index not in inside and not each.heads
    ]  # fmt: skip
    if name in usable:
        index = Places(plan).first(name)
        needed = needs.of(workflow_id, plan, index)
        return Target(plan=plan, version=version, step=index, needs=needed)
    known = name in {each.id for each in plan.steps}
    found = "within a called workflow or a block" if known else f"version {version} has none"
    return Problem(place=f"step {name}", found=found, wanted=f"one of: {', '.join(usable)}")


def keeps(saga: Saga, to: Target) -> bool:
    """Whether the run waits at the same step, which calls the same: then it goes on waiting."""
    at = current(saga)
    if at is None:
        return False
    old, new = saga.plan_step(at[0]), to.plan.steps[to.step]
    waits = begun(saga.link(*at)) or saga.wake_at is not None
    return waits and old.id == new.id and old.call == new.call


def obstacles(saga: Saga, facts: Facts, to: Target) -> list[Problem]:
    """All that stands against it but the inputs, in order of the plan."""
    return [
        *_of_the_question(saga, to), *_of_the_pivot(saga, to), *_done_again(saga, to),
        *_never_recorded(facts, to),
    ]  # fmt: skip


def _of_the_question(saga: Saga, to: Target) -> Iterator[Problem]:
    """A run that a step began goes on by itself: nobody would wait for it, or undo it."""
    at = current(saga)
    if at is None or not begun(saga.link(*at)) or keeps(saga, to):
        return
    step = saga.plan_step(at[0])
    if step.call.is_child:
        yield Problem(
            place=f"step {step.id}", found="it has begun a run of its own",
            wanted=f"the same step in version {to.version}, or a run whose child has ended",
        )  # fmt: skip


def _of_the_pivot(saga: Saga, to: Target) -> Iterator[Problem]:
    plan, name = to.plan, to.plan.steps[to.step].id
    behind = to.step in past_pivot(plan)
    pivot = "none" if plan.pivot_index is None else plan.steps[plan.pivot_index].id
    if saga.past_pivot and not behind:
        yield Problem(
            place=f"step {name}", found=f"not behind the pivot of version {to.version} ({pivot})",
            wanted="a step behind it: this run has passed its pivot, and only goes forward",
        )  # fmt: skip
    if behind and not saga.past_pivot:
        yield Problem(
            place=f"step {name}", found=f"behind the pivot of version {to.version} ({pivot})",
            wanted="a step up to it: this run has not passed a pivot, and may still turn back",
        )  # fmt: skip


def _done_again(saga: Saga, to: Target) -> Iterator[Problem]:
    """Effects that would come a second time, but for those that the run had ahead anyway."""
    at = current(saga)
    place = len(saga.steps) if at is None else at[0]
    ahead = {saga.plan_step(each).id for each in range(place, len(saga.steps))}
    done = {
        saga.plan_step(each).id for each in range(place)
        if saga.steps[each].forward.status in HAPPENED
    }  # fmt: skip
    for index in chain(to.plan, to.step):
        step = to.plan.steps[index]
        if step.id in done - ahead and step.call.effects is not Effects.NONE:
            yield Problem(
                place=f"step {step.id}", found="done already",
                wanted="a step to go on at behind those that were done (a rerun repeats them)",
            )  # fmt: skip


def _never_recorded(facts: Facts, to: Target) -> Iterator[Problem]:
    """What steps from there on read, and nothing gives: neither the way there nor the past."""
    for need in to.needs:
        recorded = facts.outputs.get(need.source)
        if not _is_in(need.expression, recorded):
            yield Problem(
                place=f"step {need.step_id}",
                found=f"{need.expression.text}, {_why(need.source, recorded)}",
                wanted="what this run has recorded, or a step to go on at from which it is known",
            )  # fmt: skip


def _needed(plan: Plan, start: int) -> Iterator[Need]:
    flow, places = Flow(plan, start=start), Places(plan)
    ids = [step.id for step in plan.steps]
    for index in flow.reached():
        step, known = plan.steps[index], flow.known_at(index)
        given = {ids[each] for each in range(len(ids)) if known >> each & 1}
        for undoes, expression in _read_by(step, places):
            source = step.scope + expression.step
            is_given = source in given or (undoes and source == step.id)
            if expression.root in (Root.STEPS, Root.WORKFLOWS) and not is_given:
                yield Need(step.id, source, expression)


def _is_in(expression: Expression, recorded: Mapping[str, Any] | None) -> bool:
    return recorded is not None and not expression.names.isdisjoint(recorded)


def _why(source: str, recorded: Mapping[str, Any] | None) -> str:
    if recorded is None:
        return f"and {source} was not done"
    return f"and {source} gave {', '.join(sorted(recorded)) or 'nothing'}"


def _read_by(step: PlanStep, places: Places) -> Iterator[tuple[bool, Expression]]:
    """Every expression of a step's calls; whether it is one of what undoes it, which knows it."""
    for part, call, _ in calls_of(step):
        if call.template.get("kind") == "unread":
            continue
        if call.is_local:
            compiled = LocalStep(call, step.id, places)
            for _, expression in compiled.expressions():
                yield call.template["role"] == "return", expression
            continue
        for _, expression in expressions_of(compile_call(call, places)):
            # Criteria and outputs are read with the answer in hand, by whichever call gave it.
            yield part.is_undo, expression


def passed_over(saga: Saga, to: Target) -> list[str]:
    """Steps of the version before the one to go on at that this run has never done."""
    done = {
        saga.plan_step(place).id
        for place, state in enumerate(saga.steps) if state.forward.status in HAPPENED
    }  # fmt: skip
    return [
        step.id for step in to.plan.steps[: to.step]
        if step.id not in done and not step.call.is_local
    ]  # fmt: skip


def left_out(saga: Saga, facts: Facts, to: Target) -> list[str]:
    """Outputs of the version that this run will not have: nothing gives what they name."""
    reached = {to.plan.steps[index].id for index in Flow(to.plan, start=to.step).reached()}
    found = []
    for name, value in to.plan.outputs.items():
        for _, expression in compile_value(value, ("outputs", name)).expressions():
            gone = expression.root is Root.STEPS and expression.step not in reached
            if gone and not _is_in(expression, facts.outputs.get(expression.step)):
                found.append(name)
    return list(dict.fromkeys(found))
