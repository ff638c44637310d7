"""Steps that begin a run of another workflow, and what undoes such a run.

    kind: child
    workflow: payment            digest: of the version that is begun, see core/plan_json
    arguments: {order: $inputs.order}
    detached: true               it goes on by itself; left out where its end is waited for

    kind: undo-child             what it did is undone by a run of its own

The answer to the first is 200 with `{run, outputs}` once that run has succeeded, and 424 with
`{run, status, message}` where it ended otherwise; of a detached one it is 200 with `{run}` at once.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import CHILD, Call, Compensation, Effects, OnCancel, Plan, PlanStep
from orchestrator.core.plan_json import digest_of
from orchestrator.core.retry import NO_RETRY, RetryPolicy
from orchestrator.definitions import encoding
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.problems import Path, pointer
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

KIND, UNDO_KIND = "child", "undo-child"
_BEGINNING = frozenset({KIND, "map"})
"""Kinds of calls that begin runs of a workflow of its own version; a map does for each item."""
CHILD_METHOD, UNDO_METHOD = "RUN", "UNDO"
_RUN_HEADER = "run"


DETACHED = "it goes on by itself: a detached run is not undone with the one that began it"
"""The reason that stands for the compensation of a detached child."""


def child_call(
    label: str,
    plan: Plan,
    arguments: Mapping[str, Any],
    *,
    on_cancel: OnCancel | None,
    retry: RetryPolicy = NO_RETRY,
    more: Mapping[str, Any] | None = None,
) -> Call:
    """A call that begins a run of `plan`, a version with its digest.

    `on_cancel` None: it is detached. `more` of the template: criteria, outputs and actions.
    """
    template = {
        "kind": KIND, "workflow": plan.workflow, "digest": plan.digest,
        "arguments": dict(arguments), "outputs": {"run": "$response.body#/run"}, **(more or {}),
    }  # fmt: skip
    if on_cancel is None:
        template["detached"] = True
    return Call(
        label=label, api=CHILD, effects=Effects.KEYED, retry=retry, template=template,
        on_cancel=on_cancel,
    )  # fmt: skip


def undo_of_child(label: str) -> Compensation:
    """What undoes a child run: a run that begins with what it did, and turns back at once."""
    call = Call(
        label=label, api=CHILD, effects=Effects.KEYED, retry=NO_RETRY,
        template={"kind": UNDO_KIND}, on_cancel=OnCancel.WAIT,
    )  # fmt: skip
    return Compensation(call=call)


def output_of_child(name: str) -> str:
    """The expression that finds an output of the child in the answer."""
    return f"$response.body#{pointer(('outputs', name))}"


def children_of(plan: Plan) -> Iterator[tuple[str, str]]:
    """(workflow, digest) of each version that runs of the plan begin."""
    for step in plan.steps:
        begun = begun_by(step.call)
        if begun is not None:
            yield begun


def begun_by(call: Call) -> tuple[str, str] | None:
    """(workflow, digest) of the version of which a call begins runs; None: of no other one."""
    template = call.template
    if template.get("kind") not in _BEGINNING:
        return None
    return template["workflow"], template["digest"]


def children_first(plans: Iterable[Plan]) -> list[Plan]:
    """The same, so that nothing is published before what its runs begin."""
    by_name = {plan.workflow: plan for plan in plans}
    needs = {
        name: [child for child, _ in children_of(plan) if child in by_name]
        for name, plan in by_name.items()
    }
    return [by_name[name] for name in graphlib.TopologicalSorter(needs).static_order()]


def repinned(plans: Iterable[Plan]) -> dict[str, Plan]:
    """By name, each with the digests that those it begins have now."""
    done: dict[str, Plan] = {}
    for plan in children_first(plans):
        steps = tuple(_with_digest_of(step, done) for step in plan.steps)
        done[plan.workflow] = replace(plan, steps=steps) if plan.children else plan
    return done


def _with_digest_of(step: PlanStep, known: Mapping[str, Plan]) -> PlanStep:
    template = step.call.template
    begins = template.get("kind") in _BEGINNING
    plan = known.get(template["workflow"]) if begins else None
    if plan is None:
        return step
    call = replace(step.call, template={**template, "digest": digest_of(plan)})
    return replace(step, call=call)


def forward_only(plan: Plan, past: Sequence[int]) -> Plan:
    """Child runs from the pivot on are never undone, so nothing is kept to undo them with; and the
    heads of branches there are pivots, so that a branch never turns back either."""
    steps = tuple(
        replace(step, compensation=None)
        if (index in past or step.pivot) and is_undo_of_child(step.compensation)
        else replace(step, pivot=True) if index in past and step.heads
        else step
        for index, step in enumerate(plan.steps)
    )  # fmt: skip
    return replace(plan, steps=steps)


def is_undo_of_child(compensation: Compensation | None) -> bool:
    """Whether it is the one that nobody had to write."""
    return compensation is not None and compensation.call.is_child


def with_runs(request: FrozenRequest, run_ids: Iterable[str]) -> FrozenRequest:
    """The request with the runs that answered it, for whoever undoes what they did."""
    return replace(request, headers=tuple((_RUN_HEADER, run_id) for run_id in run_ids))


def runs_of(request: FrozenRequest | None) -> tuple[str, ...]:
    """The runs that answered a request; none where none did."""
    headers = () if request is None else request.headers
    return tuple(value for name, value in headers if name == _RUN_HEADER)


class ChildRequest:
    """What is asked of another workflow: its inputs, as JSON."""

    def __init__(self, call: Call) -> None:
        self._workflow = call.template["workflow"]
        self._arguments = compile_value(call.template.get("arguments", {}), ("arguments",))

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """Raises RequestRefused."""
        body = encoding.json_body(self._arguments.resolve(scope))
        return FrozenRequest(method=CHILD_METHOD, target=self._workflow, body=body, key=key)

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """A child has no parameters with a place."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        return self._arguments.expressions()


class UndoRequest:
    """The wish that what a child did be undone. Which child, the step's own request says."""

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """The same for all."""
        return FrozenRequest(method=UNDO_METHOD, target="", key=key)

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """It has no parameters."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """None."""
        return iter(())
