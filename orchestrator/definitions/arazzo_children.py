"""Steps with `x-child`: they begin a run of a workflow.

workflowId: payment
x-child: {onCancel: cancel | wait | leave}      its end is waited for
x-child: {wait: false}                          it goes on by itself
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.plan import OnCancel, Plan, PlanStep
from orchestrator.core.retry import NO_RETRY
from orchestrator.definitions.arazzo_actions import StepActions
from orchestrator.definitions.arazzo_calling import arguments_of
from orchestrator.definitions.arazzo_calls import CallReader, retry_as_said
from orchestrator.definitions.arazzo_chain import Found, Frame
from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.arazzo_parts import filled
from orchestrator.definitions.children import (
    DETACHED,
    child_call,
    output_of_child,
    undo_of_child,
)
from orchestrator.definitions.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Children:
    """Implements arazzo_chain.ChildReader."""

    plan_of: Callable[[Found], Plan | None]  # None: it leads back to the workflow at hand

    def read(
        self, at: Cursor, found: Found, step_id: str, label: str, actions: StepActions, frame: Frame
    ) -> PlanStep:
        """The step; what is wrong is noted."""
        plan = plan_to_begin(at, found, self.plan_of)
        on_cancel = _on_cancel(at.child("x-child", at.value["x-child"]))
        components = frame.found.context.components
        arguments = arguments_of(at, components, found.name, found.schema)
        own = CallReader(_by_answer(at), frame.found.context, label).outputs("outputs")
        theirs = {name: output_of_child(name) for name in plan.outputs} if on_cancel else {}
        again = actions.retries_of_the_request()
        call = child_call(
            label, plan, arguments, on_cancel=on_cancel,
            retry=retry_as_said(again) if again else NO_RETRY,
            more=filled(successCriteria=conditions(at, "successCriteria"), **actions.fields())
            | {"outputs": {"run": "$response.body#/run", **theirs, **own}},
        )  # fmt: skip
        is_pivot = at.flag("x-pivot")
        is_certain = at.has("x-compensation") or is_pivot or on_cancel is None
        if plan.pivot_index is not None and not is_certain:
            at.bad(
                "x-pivot: true, or an x-compensation: what a run did past its pivot is not undone",
                found=f"a run of {plan.workflow}, which has a pivot,"
                f" {plan.steps[plan.pivot_index].id}",
            )  # fmt: skip
        waited_for = on_cancel is not None
        return PlanStep(
            id=step_id, call=call, pivot=is_pivot, scope=frame.scope,
            compensation=undo_of_child(f"{label}.undo") if waited_for else None,
            no_compensation_reason=None if waited_for else DETACHED,
        )  # fmt: skip


def plan_to_begin(at: Cursor, found: Found, plan_of: Callable[[Found], Plan | None]) -> Plan:
    """The plan of the child; an empty one where there is none, which is noted."""
    item = at.child("workflowId", at.value["workflowId"])
    plan = plan_of(found)
    if plan is None:
        item.bad("a workflow that does not lead back to itself", found=str(item.value))
    return plan or Plan(workflow=found.name, steps=())


def _on_cancel(at: Cursor) -> OnCancel | None:
    """None of a detached one."""
    if not at.is_object():
        return OnCancel.CANCEL
    at.only({"onCancel", "wait"})
    said, waits = at.choice("onCancel", tuple(OnCancel)), at.flag("wait") or not at.has("wait")
    if not waits and said is not None:
        at.bad("either wait: false, or an onCancel", found="both: a detached run is left alone")
    return OnCancel(said or OnCancel.CANCEL) if waits else None


def _by_answer(at: Cursor) -> Cursor:
    """The step with `$outputs.NAME`, the child's, where its answer has them."""
    outputs = at.value.get("outputs")
    if not isinstance(outputs, Mapping):
        return at
    named: dict[str, Any] = {
        key: output_of_child(value.removeprefix("$outputs."))
        if isinstance(value, str) and value.startswith("$outputs.") else value
        for key, value in outputs.items()
    }  # fmt: skip
    return Cursor(at.document, at.findings, {**at.value, "outputs": named}, at.path)
