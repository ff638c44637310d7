"""Workflows that other ones call: their inputs, and the two local steps around theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.plan import LOCAL, Call, Effects, PlanStep
from orchestrator.definitions.actions import INPUTS_OF
from orchestrator.definitions.arazzo_actions import StepActions
from orchestrator.definitions.arazzo_parts import filled, resolved
from orchestrator.definitions.arazzo_values import value_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.inputs import certain_inputs, declared_inputs

Schema = Mapping[str, Any]


def enter(
    step_id: str, scope: str, label: str, *, workflow: str, arguments: Mapping[str, Any],
    schema: Schema, actions: StepActions,
) -> PlanStep:  # fmt: skip
    """The step that makes a called workflow's inputs."""
    failure = StepActions(failure=actions.failure, outer=actions.outer)
    template = {"kind": "local", "role": "enter", "workflow": workflow} | filled(
        arguments=dict(arguments), inputsSchema=dict(schema), **failure.fields()
    )
    call = Call(label=label, api=LOCAL, effects=Effects.NONE, template=template)
    return PlanStep(id=step_id + INPUTS_OF, call=call, scope=scope)


def returning(
    step_id: str, scope: str, label: str, *, result: Mapping[str, Any],
    criteria: list[dict[str, str]], outputs: Mapping[str, Any], actions: StepActions,
) -> PlanStep:  # fmt: skip
    """The step that gives a called workflow's outputs to whoever called it."""
    template = {"kind": "local", "role": "return", "inner": inner_scope(step_id, scope)} | filled(
        result=dict(result), successCriteria=criteria, outputs=dict(outputs), **actions.fields()
    )
    call = Call(label=label, api=LOCAL, effects=Effects.NONE, template=template)
    return PlanStep(id=step_id, call=call, scope=scope)


def inner_scope(step_id: str, scope: str) -> str:
    """The scope of the steps in a called workflow, as seen from the one that calls it."""
    return step_id.removeprefix(scope) + "/"


def arguments_of(
    at: Cursor, components: Cursor | None, workflow: str, schema: Schema, taken: Sequence[str] = ()
) -> Schema:
    """What a step or action gives a workflow: its `parameters`, which have no `in`.

    `taken`: inputs that it gets otherwise.
    """
    known, found = declared_inputs(schema), {}
    items = [resolved(item, components) for item in at.items("parameters")]
    for item in items:
        if item is None or not item.is_object():
            continue
        item.only({"name", "value"}, {"in": "no in: a workflow's inputs have no place"})
        name, value = item.text("name", required=True), item.get("value")
        if value is None:
            item.bad("the field value", found="no value")
        if name is None or value is None:
            continue
        if name not in known:
            wanted = ", ".join(sorted(known)) or "none is declared"
            item.child("name", name).bad(f"an input of workflow {workflow}: {wanted}")
        if name in taken:
            item.child("name", name).bad("none of what x-each gives each item", found=name)
        found[name] = value_of(value)
    check_missing(at, workflow, schema, {**found, **dict.fromkeys(taken)})
    return found


def check_missing(at: Cursor, workflow: str, schema: Schema, given: Schema) -> None:
    """Note each input that the workflow requires and does not get."""
    defaulted = {
        name for name, part in declared_inputs(schema).items() if "default" in part
    }  # fmt: skip
    for name in sorted(certain_inputs(schema) - defaulted - set(given)):
        at.bad(f"the input {name}, which workflow {workflow} requires", found=f"no {name}")


def inputs_of_the_same_name(own: Schema, schema: Schema) -> dict[str, Any]:
    """What a workflow gets where nobody says it: the inputs that both declare."""
    both = declared_inputs(own).keys() & declared_inputs(schema).keys()
    return {name: f"$inputs.{name}" for name in sorted(both)}
