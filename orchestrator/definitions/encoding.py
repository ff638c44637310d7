"""How values become bytes in each position of a request, percent-encoded for that position."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.definitions.problems import RequestRefused
from orchestrator.errors import Problem

MAX_FORM_DEPTH = 10
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def refused(place: str, found: str, wanted: str) -> RequestRefused:
    """The error for a value that cannot be sent in its place."""
    problem = Problem(place=place, found=found, wanted=wanted)
    return RequestRefused("the request cannot be made", problems=[problem])


def scalar_text(value: Any, place: str) -> str:
    """Text of a string, number or boolean. Raises RequestRefused for the rest."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case _:
            raise refused(place, _kind(value), "a string, a number or a boolean")


def path_segment(value: Any, place: str) -> str:
    """One segment of a path (style `simple`). Raises RequestRefused.

    An empty or dotted segment would lead to another resource, so it is refused.
    """
    items = value if _is_array(value) else [value]
    text = ",".join(quote(scalar_text(item, place), safe="") for item in items)
    if text in ("", ".", ".."):
        raise refused(place, repr(text), "text that is not empty, '.' or '..'")
    return text


def header_value(value: Any, place: str) -> str:
    """A header's value. Raises RequestRefused for control characters, such as a line break."""
    items = value if _is_array(value) else [value]
    text = ", ".join(scalar_text(item, place) for item in items)
    if not _HEADER_VALUE.fullmatch(text):
        raise refused(place, "characters that no header may have", "Latin-1 text on one line")
    return text.strip(" \t")


def query_pairs(
    name: str, value: Any, *, style: str, explode: bool, place: str
) -> Iterator[tuple[str, str]]:
    """The pairs of one query parameter (styles `form` and `deepObject`)."""
    if isinstance(value, Mapping):
        if style != "deepObject":
            raise refused(place, "an object", "style deepObject in the API's document for objects")
        yield from form_pairs(name, value, place)
    elif _is_array(value):
        items = [scalar_text(item, place) for item in value]
        yield from ((name, item) for item in items) if explode else [(name, ",".join(items))]
    else:
        yield name, scalar_text(value, place)


def form_body(fields: Mapping[str, Any], deep: frozenset[str]) -> bytes:
    """An `application/x-www-form-urlencoded` body. Raises RequestRefused.

    Objects become `name[key]=…`, arrays a repeated `name=…`; those in `deep` and arrays of objects
    become `name[0]=…`. Null fields are left out.
    """
    pairs = [
        pair
        for name, value in fields.items()
        for pair in _form_field(name, value, deep, f"requestBody/payload/{name}")
    ]
    return encode_pairs(pairs).encode()


def _form_field(
    name: str, value: Any, deep: frozenset[str], place: str
) -> Iterator[tuple[str, str]]:
    flat = _is_array(value) and not any(isinstance(item, Mapping | list) for item in value)
    if flat and name not in deep:
        return query_pairs(name, value, style="form", explode=True, place=place)
    return form_pairs(name, value, place)


def form_pairs(name: str, value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """`name[a][0]=…` for whatever is nested."""
    if depth > MAX_FORM_DEPTH:
        raise refused(place, "deeper nesting", f"at most {MAX_FORM_DEPTH} levels in a form")
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from form_pairs(f"{name}[{key}]", item, place, depth + 1)
    elif _is_array(value):
        for index, item in enumerate(value):
            yield from form_pairs(f"{name}[{index}]", item, place, depth + 1)
    else:
        yield name, scalar_text(value, place)


def encode_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """`a=1&b=2`, both sides percent-encoded; spaces as %20, brackets of names kept."""
    return "&".join(f"{quote(name, safe='[]')}={quote(value, safe='')}" for name, value in pairs)


def json_body(value: Any) -> bytes:
    """Compact JSON in the order of the document."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
