"""A workflow's inputs: checked against their JSON schema, defaults filled in."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.core.redaction import HIDDEN, Rules
from orchestrator.definitions.json_schema import closed_validator, standard_validator
from orchestrator.definitions.official.faults import faults_of
from orchestrator.definitions.plain_schemas import plain_check
from orchestrator.definitions.problems import pointer, shown
from orchestrator.definitions.secret_fields import secret_paths
from orchestrator.errors import InvalidInput, Problem
from orchestrator.telemetry import redact

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_COMBINED = ("allOf", "anyOf", "oneOf")


class InputsSchema:
    """A compiled inputs schema. Never fetches anything."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._secret = tuple(secret_paths(schema))
        self._has_defaults = _has_defaults(schema)
        self._certainly_fits = plain_check({"type": "object", **schema})

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return closed_validator(self._schema)

    def check(self, workflow: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with defaults; the same object where nothing had to be filled in.

        Raises InvalidInput naming every field.
        """
        if not isinstance(inputs, dict | Mapping):  # asking for a dict first is the quicker
            raise _invalid(workflow, [Problem(place="/", found=shown(inputs), wanted="an object")])
        filled: dict[str, Any] = inputs if isinstance(inputs, dict) else dict(inputs)
        if self._has_defaults:
            filled = with_defaults(self._schema, filled)
        if self._certainly_fits is not None and self._certainly_fits(filled):
            return filled
        seen = (redact.rules() | Rules(paths=self._secret)).value(filled)
        problems = [
            Problem(
                place=pointer(tuple(error.absolute_path)) or "/",
                found=shown(_at(seen, error.absolute_path))
                if error.validator != "required"
                else error.message,
                wanted=_wanted(error.validator, error.validator_value, error.message),
            )
            for error in self._validator.iter_errors(filled)
        ]
        if problems:
            raise _invalid(workflow, sorted(problems, key=lambda problem: problem.place))
        return filled


def _at(value: Any, path: Iterable[str | int]) -> Any:
    """What stands there; what hides it, where something does."""
    for token in path:
        if value == HIDDEN:
            return value
        value = value[token]
    return value


def _invalid(workflow: str, problems: list[Problem]) -> InvalidInput:
    return InvalidInput(f"the inputs of {workflow} do not fit its schema", problems=problems)


def _wanted(validator: Any, value: Any, message: str) -> str:
    match validator:
        case "required":
            return "all of: " + ", ".join(map(str, value))
        case "additionalProperties":
            return message
        case "type":
            return f"type {value}"
        case _:
            return f"{validator} {shown(value)}"


def with_defaults(schema: Any, value: Any) -> Any:
    """A copy with declared defaults where nothing was given, at every level of objects."""
    if not isinstance(schema, Mapping) or not isinstance(value, Mapping):
        return value
    filled = dict(value)
    properties = schema.get("properties")
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        if name in filled:
            filled[name] = with_defaults(part, filled[name])
        elif isinstance(part, Mapping) and "default" in part:
            filled[name] = copy.deepcopy(part["default"])
    return filled


def _has_defaults(schema: Any) -> bool:
    """Whether `with_defaults` could add anything."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    parts = properties.values() if isinstance(properties, Mapping) else ()
    return any(
        isinstance(part, Mapping) and ("default" in part or _has_defaults(part)) for part in parts
    )


def schema_problems(schema: Any) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """(path, found, wanted) of everything wrong with a schema itself."""
    if not isinstance(schema, Mapping):
        yield (), shown(schema), "a JSON schema of type object"
        return
    faults = list(faults_of(standard_validator(), schema))
    if faults:
        yield from ((fault.path, fault.found, fault.wanted) for fault in faults)
        return
    if schema.get("type", "object") != "object":
        yield ("type",), shown(schema["type"]), "object"
    yield from _reference_problems(schema, schema)


def _reference_problems(
    root: Mapping[str, Any], part: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str) and not _resolves(root, reference):
            yield (*path, "$ref"), repr(reference), "a reference inside this schema"
        for name, child in part.items():
            yield from _reference_problems(root, child, (*path, name))
    elif isinstance(part, list):
        for index, child in enumerate(part):
            yield from _reference_problems(root, child, (*path, index))


def _resolves(root: Mapping[str, Any], reference: str) -> bool:
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415 - needed only when publishing

    if not reference.startswith("#"):
        return False
    try:
        resource = DRAFT202012.create_resource(root)
        Registry().resolver_with_root(resource).lookup(reference)
    except Unresolvable:
        return False
    return True


def declared_inputs(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Names and schemas of the declared inputs, those of combined schemas included."""
    return dict(_declared(schema, schema, 0))


def _declared(
    root: Mapping[str, Any], part: Any, depth: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(part, Mapping) or depth > 5:
        return
    properties = part.get("properties")
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        yield name, child if isinstance(child, Mapping) else {}
    for keyword in _COMBINED:
        children = part.get(keyword)
        for child in children if isinstance(children, list) else ():
            yield from _declared(root, child, depth + 1)


def certain_inputs(schema: Mapping[str, Any]) -> frozenset[str]:
    """Inputs that every run has: required, or with a default."""
    required, properties = schema.get("required"), schema.get("properties")
    names = (
        [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    )
    parts = properties.items() if isinstance(properties, Mapping) else ()
    names += [name for name, part in parts if isinstance(part, Mapping) and "default" in part]
    return frozenset(names)
