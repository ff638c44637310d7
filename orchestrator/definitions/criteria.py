"""Criteria of every kind that Arazzo knows, compiled once: simple, regex, jsonpath, xpath.

In a plan a criterion is `{condition}` or `{condition, type, context}`; what it says is decided here
for all who judge one. None can hold a worker up: patterns take linear time, and queries that look
at a body again for each of its values are bounded by its size (`bounds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

from orchestrator.definitions.condition_texts import Template
from orchestrator.definitions.conditions import MAX_CONDITION_LENGTH, parse_condition
from orchestrator.definitions.expressions import Expression, Root, as_text, parse_expression
from orchestrator.definitions.patterns import compile_pattern
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

TYPES = ("simple", "regex", "jsonpath", "xpath")
VERSIONS = {
    "jsonpath": ("rfc9535", "draft-goessner-dispatch-jsonpath-00"),
    "xpath": ("xpath-10", "xpath-20", "xpath-30", "xpath-31"),
}
"""Read alike: JSONPath as RFC 9535, XPath as 1.0; what these do not know is refused."""


class Criterion(Protocol):
    """Something that holds or does not."""

    @property
    def text(self) -> str:
        """As it was written."""

    @property
    def said(self) -> str:
        """The same for people who see nothing else of it: with its kind and its context."""

    @property
    def holds(self) -> Callable[[Scope], bool]:
        """Whether it holds. Raises UnreadableBody when it needs a body that cannot be read."""

    def expressions(self) -> Iterator[Expression]:
        """Every expression in it."""

    def may_hold_for(self, status: int) -> bool:
        """Whether some answer with this status could satisfy it."""


def parse_criterion(data: Mapping[str, Any]) -> Criterion:
    """Compile a criterion as a plan holds it. Raises ExpressionError."""
    kind = data.get("type", "simple")
    if kind == "simple":
        return parse_condition(data["condition"])
    text = data["condition"]
    if len(text) > MAX_CONDITION_LENGTH:
        found = f"a condition of {len(text)} characters"
        raise ExpressionError(found, f"at most {MAX_CONDITION_LENGTH}")
    context = parse_expression(data["context"])
    said = f"{kind} {text} of {data['context']}"
    template = Template.read(kind, text)
    if template is not None:
        _tester(kind, template.example(), context)  # whether it can be read at all
        return Embedding(said, template, context)
    return InContext(text, said, context, _tester(kind, text, context))


class InContext:
    """A test of what an expression leads to; what leads nowhere does not hold."""

    def __init__(
        self, text: str, said: str, context: Expression, test: Callable[[Any], bool]
    ) -> None:
        self.text, self.said = text, said
        self._context, self._test = context, test

    @property
    def holds(self) -> Callable[[Scope], bool]:
        """As a method would, for those who ask it as an attribute."""
        return self._holds

    def expressions(self) -> Iterator[Expression]:
        """The context's."""
        return iter((self._context,))

    def may_hold_for(self, status: int) -> bool:
        """Decided for patterns on the status alone."""
        return self._test(status) if self._context.root is Root.STATUS else True

    def _holds(self, scope: Scope) -> bool:
        value = self._context.evaluate(scope)
        return value is not ABSENT and self._test(value)


class Embedding:
    """A test whose text depends on what the run knows; it fails when that gives none."""

    def __init__(self, said: str, template: Template, context: Expression) -> None:
        self.text, self.said, kind = template.text, said, template.kind
        self._template, self._context = template, context
        self._test_of = lru_cache(maxsize=_KEPT)(lambda text: _tester(kind, text, context))

    @property
    def holds(self) -> Callable[[Scope], bool]:
        """As a method would, for those who ask it as an attribute."""
        return self._holds

    def expressions(self) -> Iterator[Expression]:
        """The context's, and those in the text."""
        yield self._context
        yield from self._template.expressions()

    def may_hold_for(self, status: int) -> bool:
        """Only a run can tell."""
        return True

    def _holds(self, scope: Scope) -> bool:
        value, text = self._context.evaluate(scope), self._template.filled(scope)
        if value is ABSENT or text is None or len(text) > MAX_CONDITION_LENGTH:
            return False
        try:
            test = self._test_of(text)
        except ExpressionError:  # what cannot be evaluated fails, says the specification
            return False
        return test(value)


_KEPT = 100  # compiled tests of one criterion: runs differ, and a pattern is quickly made


def _tester(kind: str, text: str, context: Expression) -> Callable[[Any], bool]:
    # Imported where it is used: most plans have simple criteria alone, and lxml and a JSONPath
    # parser would add a third to the start of every command.
    match kind:
        case "regex":
            search = compile_pattern(text)
            return lambda value: search(as_text(value))
        case "jsonpath":
            from orchestrator.definitions.json_paths import compile_json_path  # noqa: PLC0415 - rare

            return compile_json_path(text)
        case "xpath":
            from orchestrator.definitions.xml_paths import compile_xml_path  # noqa: PLC0415 - rare

            is_answer = context.root is Root.RESPONSE_BODY and not context.accessors
            return compile_xml_path(text, is_answer=is_answer)
        case _:
            raise ExpressionError(repr(kind), f"one of: {', '.join(TYPES)}")
