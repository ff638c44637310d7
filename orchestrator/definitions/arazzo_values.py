"""Values of a document as a template holds them: checked, with selectors and constants put in.

Arazzo 1.1 adds selector objects, `$self`, and fields of sources (`$sourceDescriptions.NAME.url`).
The latter two are the same in every run, so that they are put in where the document is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.definitions.arazzo_criteria import selector_type
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.expressions import SELECT, compile_value
from orchestrator.definitions.problems import ExpressionError

_SELECTOR = frozenset({"context", "selector", "type"})
_CONSTANT = re.compile(
    r"\$self|\$sourceDescriptions\.(?P<name>[A-Za-z0-9_-]+)\.(?P<field>url|type|name)"
)
_BRACED = re.compile(r"\{(\$(?:self|sourceDescriptions)\b[^{}]*)\}")


def is_1_1(at: Cursor) -> bool:
    """Whether the document says that it is of Arazzo 1.1."""
    root = at.document.value
    return isinstance(root, Mapping) and str(root.get("arazzo", "")).startswith("1.1.")


def value_of(at: Cursor, value: Any = ...) -> Any:
    """A value for a template; everything in it that cannot be read is noted at its own place.

    `value`: another than that which stands there, such as what its text stands for.
    """
    changed = value is not ... and value is not at.value
    return _read(at.child("", value) if changed else at)


def is_selector(value: Any) -> bool:
    """Whether it has the form of a selector object."""
    return (
        isinstance(value, Mapping)
        and {"context", "selector"} <= set(value) <= _SELECTOR
        and str(value["context"]).startswith("$")
    )


def _read(at: Cursor) -> Any:
    value = at.value
    if is_selector(value) and is_1_1(at):
        return _selector(at)
    if isinstance(value, Mapping):
        read = {key: _read(at.child(str(key), item)) for key, item in value.items()}
        return value if all(read[key] is value[key] for key in read) else read
    if isinstance(value, list):
        items = [_read(at.child(index, item)) for index, item in enumerate(value)]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if not isinstance(value, str):
        return value
    text = value
    with at.findings.expressions_at(at.place):
        text = _constants(at, value)
        compile_value(text)
    return text


def _selector(at: Cursor) -> Any:
    kind = selector_type(at, "type", None)
    context, text = at.text("context"), at.text("selector", required=True)
    if kind is None or context is None or text is None:
        return at.value
    read = {SELECT: {"context": context, "selector": text, "type": kind}}
    with at.findings.expressions_at(at.place):
        compile_value(read)
    return read


def _constants(at: Cursor, text: str) -> str:
    if _CONSTANT.fullmatch(text):
        return _constant(at, text)
    return _BRACED.sub(lambda found: _constant(at, found[1]), text) if "{$s" in text else text


def _constant(at: Cursor, text: str) -> str:
    found, root = _CONSTANT.fullmatch(text), at.document.value
    if found is None:
        raise ExpressionError(repr(text), "$self or $sourceDescriptions.NAME.(url|type|name)")
    if found["name"] is None:
        own = root.get("$self")
        if not isinstance(own, str):
            raise ExpressionError(f"{text}, and a document without it", "the document's own $self")
        return own
    sources = root.get("sourceDescriptions")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, Mapping) and source.get("name") == found["name"]:
            value = source.get(found["field"], "openapi" if found["field"] == "type" else None)
            if isinstance(value, str):
                return value
    raise ExpressionError(repr(text), "the name of a source of this document")
