"""What tools give back: the same JSON as text and as structured content, without what is empty.

The text is what most clients put before their model, so it is written without white space, and
what has its default value is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import orjson
from mcp.types import CallToolResult, TextContent

NOTHING_FITS = (
    "No workflow here does that. Ask once more in other words, saying what is to be changed and "
    "where; if there is none again, say that it cannot be done here. Do not run another instead."
)


def nothing_fits() -> CallToolResult:
    """What search says instead of an empty list."""
    text = TextContent(type="text", text=NOTHING_FITS)
    return CallToolResult(content=[text], structured_content={"result": []})


def answer(value: Any) -> CallToolResult:
    """A dataclass, or a list of such ones (as `result` in the structured content)."""
    plain = _plain(value)
    text = TextContent(type="text", text=orjson.dumps(plain).decode())
    structured = {"result": plain} if isinstance(plain, list) else plain
    return CallToolResult(content=[text], structured_content=structured)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return dict(_members(value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        held = getattr(value, field.name)
        held = list(held) if isinstance(held, tuple) else held
        if held != _default(field):
            yield field.name, _plain(held)


def _default(field: Field[Any]) -> Any:
    """MISSING where there is none. An empty list is as good as an empty tuple."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return [] if field.default == () else field.default
