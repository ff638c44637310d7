"""JSON pointers (RFC 6901) as places to put something."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.values import ABSENT


def pointer_tokens(text: str) -> tuple[str, ...]:
    """Its tokens, unescaped. Raises ExpressionError."""
    if text and not text.startswith("/"):
        raise ExpressionError(repr(text), "a JSON pointer, which begins with '/'")
    if re.search(r"~(?![01])", text):
        raise ExpressionError(repr(text), "'~' in a JSON pointer as '~0', '/' as '~1'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def put(value: Any, tokens: Sequence[str], new: Any) -> Any:
    """A copy with `new` there, or ABSENT when that leads nowhere.

    The last token may name a field that the object does not have yet; everything before is there.
    """
    if not tokens:
        return new
    first, rest = tokens[0], tokens[1:]
    if isinstance(value, Mapping) and (first in value or not rest):
        changed = put(value.get(first), rest, new)
        return ABSENT if changed is ABSENT else {**value, first: changed}
    if isinstance(value, list) and first.isdecimal() and int(first) < len(value):
        changed = put(value[int(first)], rest, new)
        at = int(first)
        return ABSENT if changed is ABSENT else [*value[:at], changed, *value[at + 1 :]]
    return ABSENT
