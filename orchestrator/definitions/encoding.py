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
_BRACKETS = frozenset("[]")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_SEPARATORS = re.compile(r"[/\\]")
_DOTS = frozenset({".", ".."})
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def refused(place: str, found: str, wanted: str) -> RequestRefused:
    """The error for a value that cannot be sent in its place."""
    problem = Problem(place=place, found=found, wanted=wanted)
    return RequestRefused("the request cannot be made", problems=[problem])


def scalar_text(value: Any, place: str) -> str:
    """Text of a string, number or boolean. Raises RequestRefused for the rest."""
    match value:
        case str():
            if not value.isascii() and _HALF_A_PAIR.search(value):
                raise refused(place, "a lone surrogate", "text that UTF-8 can hold")
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case _:
            raise refused(place, kind_of(value), "a string, a number or a boolean")


def path_segment(value: Any, place: str) -> str:
    """One segment of a path (style `simple`). Raises RequestRefused.

    An empty or dotted segment would lead to another resource, so it is refused; also behind a
    slash that is encoded, since there are servers that decode it before they look.
    """
    if type(value) is str and _PLAIN_SEGMENT.fullmatch(value):
        return value
    items = value if is_array(value) else [value]
    text = ",".join(quote(scalar_text(item, place), safe="") for item in items)
    if text == "" or any(_has_dot_segment(item) for item in items):
        raise refused(place, ascii(text)[:100], "text without segments that are empty, '.' or '..'")
    return text


def check_path(path: str) -> str:
    """A whole path as it is. Raises RequestRefused where parts have met to `/../`."""
    if "/." in path and not _DOTS.isdisjoint(path.split("/")):
        raise refused("path", path[:100], "a path without segments that are '.' or '..'")
    return path


def _has_dot_segment(value: Any) -> bool:
    return isinstance(value, str) and not _DOTS.isdisjoint(_SEPARATORS.split(value))


def header_value(value: Any, place: str) -> str:
    """A header's value. Raises RequestRefused for control characters, such as a line break."""
    items = value if is_array(value) else [value]
    text = ", ".join(scalar_text(item, place) for item in items)
    if not _HEADER_VALUE.fullmatch(text):
        raise refused(place, "characters that no header may have", "Latin-1 text on one line")
    return text.strip(" \t")


def form_field(name: str, value: Any, deep: frozenset[str], place: str) -> Iterator[str]:
    """The `name=value` parts of a field of a form. Raises RequestRefused.

    Objects become `name[key]=…`, arrays a repeated `name=…`; those in `deep` and arrays of objects
    become `name[0]=…`. Null is left out.
    """
    flat = is_array(value) and not any(isinstance(item, Mapping | list) for item in value)
    if flat and name not in deep:
        return (_part(name, scalar_text(item, place)) for item in value)
    return nested_parts(name, value, place)


def nested_parts(name: str, value: Any, place: str, depth: int = 0) -> Iterator[str]:
    """`name[a][0]=…` for whatever is nested."""
    if depth > MAX_FORM_DEPTH:
        raise refused(place, "deeper nesting", f"at most {MAX_FORM_DEPTH} levels in a form")
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not _BRACKETS.isdisjoint(key):
                raise refused(place, f"the key {ascii(key)[:60]}", "keys without [ and ] in a form")
            yield from nested_parts(f"{name}[{key}]", item, place, depth + 1)
    elif is_array(value):
        for index, item in enumerate(value):
            yield from nested_parts(f"{name}[{index}]", item, place, depth + 1)
    else:
        yield _part(name, scalar_text(value, place))


def _part(name: str, text: str) -> str:
    """Both sides percent-encoded, a space as %20; the brackets of names are kept."""
    return f"{quote(name, safe='[]')}={quote(text, safe='')}"


def json_body(value: Any) -> bytes:
    """Compact JSON in the order of the document."""
    return _JSON.encode(value).encode()


def is_array(value: Any) -> bool:
    """Whether it is a JSON array."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def kind_of(value: Any) -> str:
    """What it is, for a message."""
    if value is None:
        return "null"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
