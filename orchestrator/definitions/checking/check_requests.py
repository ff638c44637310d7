"""Does each call send what its operation takes, in the types that it takes?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.core.shapes import type_of
from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Call, Flow, Given
from orchestrator.definitions.checking.report import Severity
from orchestrator.definitions.checking.schemas import Schema
from orchestrator.definitions.checking.typing_of import schema_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.expressions import parse_expression
from orchestrator.definitions.media_types import is_json
from orchestrator.definitions.problems import ExpressionError, shown
from orchestrator.definitions.requests import path_names

_SET_WHEN_SENT = ("authorization", "accept", "content-type")
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_NUMBERS = frozenset({"integer", "number"})
_BRACED = re.compile(r"\{\$[^{}]*\}")
_DEEPEST = 30


def check_requests(flow: Flow, notes: Notes) -> None:
    """Parameters and bodies of every call: steps, undos, verifications."""
    for step in flow.steps:
        for call in step.calls():
            if call.api is not None:
                _Request(flow, call, call.api, notes).run()
            elif call.workflow is not None:
                _check_workflow_inputs(flow, call, notes)


class _Request:
    def __init__(self, flow: Flow, call: Call, api: ApiOperation, notes: Notes) -> None:
        self._flow, self._call, self._api, self._notes = flow, call, api, notes

    def run(self) -> None:
        given = self._call.parameters()
        for item in given:
            self._parameter(item)
        self._missing(given)
        self._body()

    # --- parameters -------------------------------------------------------------------------------

    def _parameter(self, item: Given) -> None:
        if item.place not in ("path", "query", "header", "cookie"):
            return
        declared = self._api.parameter(item.name, item.place)
        if declared is None:
            self._undeclared(item)
        elif item.value is not None:
            self._fits(item.value, declared, loosely=True)

    def _undeclared(self, item: Given) -> None:
        known = self._api.parameter_names(item.place)
        in_path = item.place == "path" and item.name in path_names(self._api.operation.path)
        if in_path or (item.place == "header" and item.name.lower() in _SET_WHEN_SENT):
            return
        close = difflib.get_close_matches(item.name, known, n=1)
        names = ", ".join(known) or "it declares none"
        self._notes.add(
            "unknown-parameter", item.at, f"{item.place} parameter {item.name}",
            f"a {item.place} parameter of {self._api.name}: {names}",
            fix=f"name: {close[0]}" if close else "",
        )  # fmt: skip

    def _missing(self, given: list[Given]) -> None:
        have = {(item.place, item.name.lower()) for item in given}
        places = {item.place for item in given}
        operation = self._api.operation
        needed = [("path", name) for name in path_names(operation.path)]
        needed += [
            (item.place, item.name) for item in operation.parameters
            if item.required and item.place in ("query", "header")
            and not self._is_set_elsewhere(item.name)
            and not (item.place == "query" and "querystring" in places)
        ]  # fmt: skip
        for place, name in dict.fromkeys(needed):
            if (place, name.lower()) not in have:
                self._notes.add(
                    "missing-parameter", self._call.at, f"no {name}",
                    f"the {place} parameter {name}, which {self._api.name} requires",
                    fix=f"parameters: [{{name: {name}, in: {place}, value: …}}]",
                )  # fmt: skip

    def _is_set_elsewhere(self, name: str) -> bool:
        how = self._call.at.value.get("x-idempotency")
        key = str(how.get("name", "")) if isinstance(how, Mapping) else ""
        return name.lower() in (*_SET_WHEN_SENT, key.lower())

    # --- bodies -----------------------------------------------------------------------------------

    def _body(self) -> None:
        if not self._call.at.has("requestBody"):
            if self._api.operation.body_required:
                self._notes.add(
                    "missing-body", self._call.at, "no requestBody",
                    f"a requestBody, which {self._api.name} requires",
                )  # fmt: skip
            return
        payload = self._call.payload()
        kind = self._call.content_type
        schema = self._api.body(kind)
        if payload is not None and schema is not None:
            loosely = kind is not None and not is_json(kind)
            self._fits(payload, schema, loosely=loosely)

    def _fits(self, at: Cursor, schema: Schema, *, loosely: bool, depth: int = 0) -> None:
        """Note where a value cannot be what the schema wants. `loosely`: it is sent as text."""
        value = at.value
        if depth > _DEEPEST or (isinstance(value, Mapping) and "x-first-of" in value):
            return
        if isinstance(value, str) and value.startswith("$"):
            self._expression_fits(at, schema, loosely=loosely)
        elif isinstance(value, str) and _BRACED.search(value):
            self._type_fits(at, frozenset({"string"}), schema, f"text {shown(value)}", loosely=True)
        elif isinstance(value, Mapping) and "object" in schema.types():
            self._fields_fit(at, schema, loosely=loosely, depth=depth)
        elif isinstance(value, list) and "array" in schema.types():
            for index, item in enumerate(value):
                self._fits(at.child(index, item), schema.items(), loosely=loosely, depth=depth + 1)
        else:
            self._literal_fits(at, schema, loosely=loosely)

    def _expression_fits(self, at: Cursor, schema: Schema, *, loosely: bool) -> None:
        try:
            expression = parse_expression(at.value)
        except ExpressionError:  # publishing says so, at the same place
            return
        given = schema_of(expression, self._call, self._flow)
        if given is not None:
            self._type_fits(at, given.types(), schema, expression.text, loosely=loosely)

    def _type_fits(
        self, at: Cursor, given: frozenset[str], schema: Schema, text: str, *, loosely: bool
    ) -> None:
        given, taken = given - {"null"}, schema.types() - {"null"}
        if given & taken or not given or not taken:
            return
        if loosely and given <= _SCALARS and taken & _SCALARS:
            # Sent as text: a number is read as a text gladly, a text as a number if it is one.
            if "string" in taken or not taken <= _NUMBERS or given != {"string"}:
                return
            severity = Severity.NOTE
        else:
            severity = Severity.WARNING
        self._mismatch(at, f"{text}, {_kinds(given)}", f"{_kinds(taken)}", severity)

    def _literal_fits(self, at: Cursor, schema: Schema, *, loosely: bool) -> None:
        kind, taken = type_of(at.value), schema.types()
        if kind == "null" or (kind in taken and self._is_a_choice(at, schema)):
            return
        if kind not in taken and not (loosely and _reads_as(at.value, taken)):
            text = f"{shown(at.value)}, {_kinds(frozenset({kind}))}"
            self._mismatch(at, text, _kinds(taken - {"null"}), Severity.WARNING)

    def _is_a_choice(self, at: Cursor, schema: Schema) -> bool:
        choices = schema.choices()
        if choices is None or at.value in choices:
            return True
        known = ", ".join(map(str, choices[:12]))
        close = difflib.get_close_matches(str(at.value), [str(c) for c in choices], n=1)
        self._notes.add(
            "type-mismatch", at, shown(at.value), f"one of the values of {self._api.name}: {known}",
            fix=close[0] if close else "",
        )  # fmt: skip
        return True

    def _fields_fit(self, at: Cursor, schema: Schema, *, loosely: bool, depth: int) -> None:
        fields = schema.fields()
        for key, value in at.value.items():
            child = schema.child(str(key))
            if child is not None:
                self._fits(at.child(str(key), value), child, loosely=loosely, depth=depth + 1)
            elif fields and "[" not in str(key):
                self._unknown_field(at.child(str(key), value), str(key), sorted(fields))
        for name in sorted(schema.required() - {str(key) for key in at.value}):
            self._notes.add(
                "missing-field",
                at,
                f"no {name}",
                f"the field {name}, which {self._api.name} requires",
            )

    def _unknown_field(self, at: Cursor, name: str, known: list[str]) -> None:
        close = difflib.get_close_matches(name, known, n=1)
        names = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        self._notes.add(
            "unknown-field", at, f"the field {name}", f"a field of {self._api.name}: {names}",
            fix=close[0] if close else "",
        )  # fmt: skip

    def _mismatch(self, at: Cursor, found: str, taken: str, severity: Severity) -> None:
        wanted = f"{taken}, as {self._api.name} takes it"
        self._notes.add("type-mismatch", at, found, wanted, severity=severity)


def _check_workflow_inputs(flow: Flow, call: Call, notes: Notes) -> None:
    """A step that calls a workflow gives it what it requires."""
    called = flow.document.flow(call.workflow or "")
    inputs = None if called is None else called.at.value.get("inputs")
    if not isinstance(inputs, Mapping):
        return
    given = {item.name for item in call.parameters()}
    payload = call.payload()
    given |= (
        set(payload.value) if payload is not None and isinstance(payload.value, Mapping) else set()
    )
    required = inputs.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in given and not _has_default(inputs, name):
            notes.add(
                "missing-parameter", call.at, f"no {name}",
                f"the input {name}, which the workflow {call.workflow} requires",
                fix=f"parameters: [{{name: {name}, value: …}}]",
            )  # fmt: skip


def _has_default(inputs: Mapping[str, Any], name: str) -> bool:
    properties = inputs.get("properties")
    field = properties.get(name) if isinstance(properties, Mapping) else None
    return isinstance(field, Mapping) and "default" in field


def _reads_as(value: Any, taken: frozenset[str]) -> bool:
    """Whether a literal that is sent as text can be read as one of the types."""
    if not isinstance(value, str | int | float | bool):
        return False
    if isinstance(value, bool) or not isinstance(value, str):
        return bool(taken & _SCALARS)
    number = re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    return bool(
        ("boolean" in taken and value in ("true", "false"))
        or (taken & _NUMBERS and number) or "array" in taken
    )  # fmt: skip


def _kinds(types: frozenset[str]) -> str:
    """`an integer or a string`."""
    names = sorted(types - {"integer"} if "number" in types else types)
    articles = {"integer": "an", "array": "an", "object": "an"}
    return " or ".join(f"{articles.get(name, 'a')} {name}" for name in names)
