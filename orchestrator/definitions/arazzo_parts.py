"""Smaller parts of step-shaped objects: criteria, actions, expressions, payloads, components."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.expressions import compile_value
from orchestrator.definitions.tasks import Task

ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def identifier(at: Cursor, name: str) -> str:
    """A workflow's or step's id; noted, and perhaps empty, when it is none."""
    value = at.text(name, required=True)
    if value is not None and not ID.fullmatch(value):
        at.child(name, value).bad("letters, digits, - and _, at most 100")
    return value or ""


def check_expressions(at: Cursor) -> None:
    """Note every string below that cannot be read, at its own place."""
    if isinstance(at.value, Mapping):
        for key, value in at.value.items():
            check_expressions(at.child(str(key), value))
    elif isinstance(at.value, list):
        for index, value in enumerate(at.value):
            check_expressions(at.child(index, value))
    elif isinstance(at.value, str):
        with at.findings.expressions_at(at.place):
            compile_value(at.value)


def resolved(at: Cursor, components: Cursor | None) -> Cursor | None:
    """A reusable object's component with its `value` put in; anything else as it is."""
    reference = at.value.get("reference") if isinstance(at.value, Mapping) else None
    if reference is None:
        return at
    beside = sorted(set(at.value) - {"reference", "value"})
    if beside:
        at.child("reference", reference).bad(
            "either a reference (with a value, where it is a parameter's), or the object itself",
            found=f"reference beside {', '.join(beside)}",
        )  # and read as the object itself: what it says is then said of it
        rest = {key: value for key, value in at.value.items() if key != "reference"}
        return Cursor(at.document, at.findings, rest, at.path)
    found = components
    for token in str(reference).removeprefix("$components.").split(".", 1):
        found = None if found is None else found.get(token)
    if found is None or not str(reference).startswith("$components."):
        at.bad("a component of this document: $components.KIND.NAME", found=str(reference))
        return None
    if at.has("value") and isinstance(found.value, Mapping):
        changed = {**found.value, "value": at.value["value"]}
        return Cursor(found.document, found.findings, changed, found.path)
    return found


def argument_problems(task: Task, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(found, wanted) of arguments that the function does not take, or needs and does not get."""
    signature = task.signature
    names = ", ".join(item.name for item in signature.parameters) or "no arguments"
    unknown = [name for name in arguments if signature.parameter(name) is None]
    problems = [
        (f"the argument {name}", f"arguments of {task.operation_id}: {names}")
        for name in unknown if not signature.takes_any
    ]  # fmt: skip
    return problems + [
        (f"no {item.name}", f"the argument {item.name}, which {task.operation_id} requires")
        for item in signature.parameters
        if item.required and item.name not in arguments
    ]


def retry_action(at: Cursor) -> dict[str, Any] | None:
    """An `onFailure` action of an undo or a verification; only retries have a place here."""
    if not at.is_object():
        return None
    kind = at.text("type", required=True)
    if kind is not None and kind != "retry":
        at.child("type", kind).bad(
            "retry: what fails for good here needs a person, so there is no place for other actions"
        )
        return None
    at.only(
        {"name", "type", "retryAfter", "retryLimit", "criteria"},
        {"stepId": "a retry of this step alone", "workflowId": "a retry of this step alone"},
    )
    limit = at.number("retryLimit", whole=True)
    return {"retryLimit": 1 if limit is None else int(limit)} | filled(
        retryAfter=at.number("retryAfter"),
        criteria=conditions(at, "criteria"),
        name=at.text("name"),
    )


def already_done(at: Cursor) -> dict[str, Any] | None:
    """A status, or {status, outputs}: what a repeated creation is answered with."""
    value = at.value
    outputs: dict[str, Any] = {}
    if isinstance(value, Mapping):
        at.only({"status", "outputs"})
        for name, item in at.entries("outputs"):
            check_expressions(item)
            outputs[name] = item.value
        value = value.get("status")
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 499:
        at.bad("a status from 200 to 499, or {status, outputs}")
        return None
    return {"status": value} | filled(outputs=outputs)


def filled(**fields: Any) -> dict[str, Any]:
    """Only the fields that say something: an empty one would change the plan's digest."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}
