"""Patterns and queries with expressions in braces: `$[?@.status == "{$inputs.wanted}"]`.

What an expression gives becomes a part of the text, as the specification has it. It must not
become more than a value there: inside of quotes it is escaped, and outside of them a query takes
numbers, true and false alone. In a pattern it stands as it is; a pattern of somebody else can take
linear time at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.expressions import (
    Expression,
    as_text,
    parse_expression,
)
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

_EMBEDDED = re.compile(r"\{(\$[A-Za-z][^{}]*)\}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class _Part:
    """An expression, and the quote inside of which it stands; empty outside of any."""

    expression: Expression
    quote: str


@dataclass(frozen=True, slots=True)
class Template:
    """A condition's text with expressions in it."""

    kind: str
    text: str
    parts: tuple[str | _Part, ...]

    @staticmethod
    def read(kind: str, text: str) -> Template | None:
        """None for a text without any. Raises ExpressionError."""
        parts: list[str | _Part] = []
        end, quote = 0, ""
        for found in _EMBEDDED.finditer(text):
            before = text[end : found.start()]
            quote = "" if kind == "regex" else _quote_after(kind, before, quote)
            parts += [before, _Part(parse_expression(found[1]), quote)]
            end = found.end()
        return Template(kind, text, (*parts, text[end:])) if parts else None

    def expressions(self) -> Iterator[Expression]:
        """Those in the text."""
        return (part.expression for part in self.parts if isinstance(part, _Part))

    def example(self) -> str:
        """The text for some values, to see whether it can be read."""
        return "".join(
            part if isinstance(part, str) else ("x" if part.quote else "0") for part in self.parts
        )

    def filled(self, scope: Scope) -> str | None:
        """The text for this run; None when a value is missing, or is more than a value there."""
        texts = []
        for part in self.parts:
            text = part if isinstance(part, str) else self._written(part, scope)
            if text is None:
                return None
            texts.append(text)
        return "".join(texts)

    def _written(self, part: _Part, scope: Scope) -> str | None:
        value = part.expression.evaluate(scope)
        if value is ABSENT:
            return None
        text = as_text(value)
        if self.kind == "regex":
            return text
        if not part.quote:
            return _bare(self.kind, value, text)
        if self.kind == "xpath":  # whose strings know no escapes
            return None if part.quote in text else text
        escaped = json.dumps(text, ensure_ascii=False)[1:-1]
        return escaped if part.quote == '"' else escaped.replace('\\"', '"').replace("'", "\\'")


def embedded(text: str) -> Iterator[Expression]:
    """The expressions in braces of a condition; those that cannot be read are left out."""
    for found in _EMBEDDED.finditer(text):
        try:
            yield parse_expression(found[1])
        except ExpressionError:  # publishing says so, at the same place
            continue


def _bare(kind: str, value: Any, text: str) -> str | None:
    """Outside of quotes; a text that is a number counts as one, since outputs often are texts."""
    if isinstance(value, bool):
        return f"{text}()" if kind == "xpath" else text
    return text if _NUMBER.fullmatch(text) else None


def _quote_after(kind: str, text: str, quote: str) -> str:
    """The quote that is open after a text, when `quote` was before it."""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and quote and kind == "jsonpath":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
    return quote
