"""A quick yes to what certainly fits a plain schema; the validator has the word on all else.

Most inputs are flat objects of text and numbers, and most of them fit. Asking the validator costs
more than all the rest of accepting a run, so that for schemas of the commonest keywords a function
is made once that says yes only where the validator certainly would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Check: TypeAlias = Callable[[Any], bool]

# Without a format checker `format` says nothing that would be checked.
_NOTES = frozenset(
    {"title", "description", "default", "examples", "deprecated", "format", "$comment"}
)
_TEXT = frozenset({"enum", "minLength", "maxLength", "pattern"})
_NUMBER = frozenset({"minimum", "maximum"})
_ARRAY = frozenset({"items", "minItems", "maxItems"})
_OBJECT = frozenset({"properties", "required", "additionalProperties"})


def plain_check(schema: Any) -> Check | None:
    """Whether a value certainly fits; None for a schema that says more than can be told quickly."""
    if not isinstance(schema, Mapping):
        return None
    said = schema.keys() - _NOTES
    if not said:
        return lambda value: True
    kind = schema.get("type")
    maker = _MAKERS.get(kind) if isinstance(kind, str) else None
    if maker is None:
        return None
    known, make = maker
    return make(schema) if said <= known | {"type"} else None


def _text(schema: Mapping[str, Any]) -> Check | None:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    allowed, pattern = schema.get("enum"), schema.get("pattern")
    if allowed is not None:
        words = frozenset(word for word in allowed if isinstance(word, str))
        if pattern is None:
            return lambda v: type(v) is str and v in words and shortest <= len(v) <= longest
        return None
    if pattern is not None:
        search = re.compile(pattern).search
        return lambda v: type(v) is str and shortest <= len(v) <= longest and search(v) is not None
    return lambda v: type(v) is str and shortest <= len(v) <= longest


def _number(*types: type) -> Callable[[Mapping[str, Any]], Check | None]:
    def make(schema: Mapping[str, Any]) -> Check | None:
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is None and most is None:
            return lambda v: type(v) in types
        low = -float("inf") if least is None else least
        high = float("inf") if most is None else most
        return lambda v: type(v) in types and low <= v <= high

    return make


def _boolean(_: Mapping[str, Any]) -> Check | None:
    return lambda v: type(v) is bool


def _null(_: Mapping[str, Any]) -> Check | None:
    return lambda v: v is None


def _array(schema: Mapping[str, Any]) -> Check | None:
    item = plain_check(schema.get("items", {}))
    if item is None:
        return None
    fewest, most = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
    return lambda v: type(v) is list and fewest <= len(v) <= most and all(map(item, v))


def _object(schema: Mapping[str, Any]) -> Check | None:
    checks = {name: plain_check(part) for name, part in schema.get("properties", {}).items()}
    properties = {name: check for name, check in checks.items() if check is not None}
    others = schema.get("additionalProperties", True)
    if len(properties) < len(checks) or not isinstance(others, bool):
        return None
    required = frozenset(schema.get("required", ()))

    def check(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for name, item in value.items():
            fits = properties.get(name)
            if not (others if fits is None else fits(item)):
                return False
        return True

    return check


_MAKERS: Mapping[str, tuple[frozenset[str], Callable[[Mapping[str, Any]], Check | None]]] = {
    "string": (_TEXT, _text),
    "integer": (_NUMBER, _number(int)),
    "number": (_NUMBER, _number(int, float)),
    "boolean": (frozenset(), _boolean),
    "null": (frozenset(), _null),
    "array": (_ARRAY, _array),
    "object": (_OBJECT, _object),
}
