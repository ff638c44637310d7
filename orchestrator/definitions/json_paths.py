"""JSONPath (RFC 9535): criteria, selectors and the targets of replacements.

As a criterion a query holds when it selects something. Two readings beyond the standard are what
Arazzo's own examples and the tools around it mean: a comparison by itself, `$.name == 'x'`, and a
filter at the root of an object, `$[?@.token != null]`, which there speaks of the object itself too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from iregexp_check import check as is_i_regexp
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathNode, JSONPathQuery
from jsonpath_rfc9535.exceptions import JSONPathRecursionError
from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterContext,
    FilterExpression,
    FilterQuery,
    FunctionExtension,
    LogicalExpression,
    PrefixExpression,
    RootFilterQuery,
)
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import FilterSelector

from orchestrator.definitions.bounds import most_values
from orchestrator.definitions.patterns import compile_pattern
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import UnreadableBody
from orchestrator.definitions.values import ABSENT


class _Pattern(FilterFunction):
    """`match` and `search` of RFC 9535, section 2.4, in linear time."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - the library's own form
    return_type = ExpressionType.LOGICAL

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def __call__(self, *args: Any, **_: Any) -> bool:
        text, pattern = args
        if not isinstance(text, str) or not isinstance(pattern, str) or not is_i_regexp(pattern):
            return False
        return compile_pattern(_without_line_ends(pattern), whole=self._whole)(text)


class _Environment(JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _Pattern(whole=True)
        self.function_extensions["search"] = _Pattern(whole=False)


_ENVIRONMENT = _Environment()


def compile_json_path(text: str) -> Callable[[Any], bool]:
    """Whether something is selected in a value. Raises ExpressionError."""
    query, said = _read(text)
    exponent = max(1, _repeats_of_expression(said) if query is None else _repeats(query))
    most = most_values(exponent)
    test = _test(query, said)

    def holds(value: Any) -> bool:
        if _has_more_values(value, most):
            raise UnreadableBody(f"more than {most} values, the most for the query {text[:80]}")
        try:
            return test(value)
        except (JSONPathRecursionError, RecursionError):
            raise UnreadableBody("deeper than a JSONPath query can look") from None

    return holds


def compile_json_query(text: str) -> Callable[[Any], Any]:
    """What a query selects: of a singular one (RFC 9535, 2.3.5.1) the value or ABSENT, of any
    other an array of all. Raises ExpressionError.
    """
    query, select = _selecting(text)
    if query.singular_query():
        return lambda value: next((node.value for node in select(value)), ABSENT)
    return lambda value: [node.value for node in select(value)]


def compile_json_locations(text: str) -> Callable[[Any], list[tuple[str | int, ...]]]:
    """Where in a value a query selects something. Raises ExpressionError."""
    _, select = _selecting(text)
    return lambda value: [node.location for node in select(value)]


def _selecting(text: str) -> tuple[JSONPathQuery, Callable[[Any], Iterable[JSONPathNode]]]:
    """The query as the standard reads it, and a bounded way to ask it."""
    try:
        query = _ENVIRONMENT.compile(text.strip())
    except JSONPathError as error:
        reason = str(error).splitlines()[0][:200]
        raise ExpressionError(f"{text!r}: {reason}", "a JSONPath query (RFC 9535)") from None
    most = most_values(max(1, _repeats(query)))

    def select(value: Any) -> Iterable[JSONPathNode]:
        if _has_more_values(value, most):
            raise UnreadableBody(f"more than {most} values, the most for the query {text[:80]}")
        try:
            return list(query.finditer(value))
        except (JSONPathRecursionError, RecursionError):
            raise UnreadableBody("deeper than a JSONPath query can look") from None

    return query, select


def _read(text: str) -> tuple[JSONPathQuery | None, FilterExpression | None]:
    """The query, or what the text says by itself; of a filter at the root, both."""
    try:
        query = _ENVIRONMENT.compile(text.strip())
    except JSONPathError as error:
        said = _logical(text)
        if said is None:
            reason = str(error).splitlines()[0][:200]
            raise ExpressionError(f"{text!r}: {reason}", "a JSONPath query (RFC 9535)") from None
        return None, said
    return query, _root_filter(query)


def _test(query: JSONPathQuery | None, said: FilterExpression | None) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if query is not None and next(iter(query.finditer(value)), None) is not None:
            return True
        if said is None or (query is not None and not isinstance(value, Mapping)):
            return False
        return said.evaluate(FilterContext(env=_ENVIRONMENT, current=value, root=value))

    return holds


def _logical(text: str) -> FilterExpression | None:
    """The text as what may stand in a filter, where `$` and `@` are both the value itself."""
    try:
        return _root_filter(_ENVIRONMENT.compile(f"$[?{text}]"))
    except JSONPathError:
        return None


def _root_filter(query: JSONPathQuery) -> FilterExpression | None:
    """The filter of a query that is one filter at the root."""
    if len(query.segments) != 1 or len(query.segments[0].selectors) != 1:
        return None
    selector = query.segments[0].selectors[0]
    is_child = str(query.segments[0]).startswith("[")
    return selector.expression if is_child and isinstance(selector, FilterSelector) else None


def _repeats(query: JSONPathQuery) -> int:
    """With which power of a body's size the time of a query may grow.

    A descendant segment, or one with several selectors, may meet each value again for each value
    that it is given; so may a query in a filter that begins at the root.
    """
    segments = [
        1 for segment in query.segments
        if isinstance(segment, JSONPathRecursiveDescentSegment) or len(segment.selectors) > 1
    ]  # fmt: skip
    filters = [
        _repeats_of_expression(selector.expression)
        for segment in query.segments for selector in segment.selectors
        if isinstance(selector, FilterSelector)
    ]  # fmt: skip
    return len(segments) + max(filters, default=0)


def _repeats_of_expression(expression: Expression | None) -> int:
    match expression:
        case FilterExpression():
            return _repeats_of_expression(expression.expression)
        case PrefixExpression():
            return _repeats_of_expression(expression.right)
        case LogicalExpression() | ComparisonExpression():
            sides = (expression.left, expression.right)
            return max(_repeats_of_expression(side) for side in sides)
        case FunctionExtension():
            return max((_repeats_of_expression(one) for one in expression.args), default=0)
        case RootFilterQuery() if not expression.query.singular_query():
            return 1 + _repeats(expression.query)
        case FilterQuery():
            return _repeats(expression.query)
        case _:
            return 0


def _has_more_values(value: Any, most: int) -> bool:
    return any(number >= most for number, _ in enumerate(_values(value)))


def _values(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


_DOT = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\.", re.DOTALL)


def _without_line_ends(pattern: str) -> str:
    """I-Regexp's dot is neither a line feed nor a carriage return (RFC 9485, section 5)."""
    return _DOT.sub(lambda found: r"[^\n\r]" if found[0] == "." else found[0], pattern)
