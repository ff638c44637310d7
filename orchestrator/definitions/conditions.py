"""Arazzo's simple conditions: `$statusCode == 200 || $response.body#/error/code == "used"`.

Rules that are not obvious: strings compare without regard to case (Arazzo says so); an absent
value equals null; a number compares with a string that reads as one, since headers are strings.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.definitions.expressions import Expression, Root, parse_expression
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

MAX_CONDITION_LENGTH = 4000
MAX_NESTING = 50

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<operator>&&|\|\||==|!=|<=|>=|<|>|!|\(|\))
    | (?P<single>'(?:[^']|'')*')
    | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<word>true|false|null)(?![\w.])
    | (?P<expression>\$[^\s()=!<>&|'"]+)
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})
_NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_ORDER = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Operand:
    """A literal or an expression."""

    value: Any  # an Expression, or the literal itself

    def reader(self) -> Callable[[Scope], Any]:
        """What tells its value."""
        value = self.value
        return value.evaluate if isinstance(value, Expression) else lambda _: value


@dataclass(frozen=True, slots=True)
class Compare:
    """Left, operator, right."""

    sign: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Node


@dataclass(frozen=True, slots=True)
class Both:
    """And; the right side is looked at only when the left one holds."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Either:
    """Or; the right side is looked at only when the left one does not hold."""

    left: Node
    right: Node


Node = Operand | Compare | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, read."""

    text: str
    node: Node
    holds: Callable[[Scope], bool] = field(init=False, repr=False, compare=False)
    """Whether it holds. Raises UnreadableBody when it needs a body that cannot be read."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", _judge(self.node))

    @property
    def said(self) -> str:
        """As it was written, which says all of it."""
        return self.text

    def expressions(self) -> Iterator[Expression]:
        """Every expression in it."""
        return _expressions(self.node)

    def may_hold_for(self, status: int) -> bool:
        """Whether some answer with this status could satisfy it."""
        return _guess(self.node, status) is not False


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises ExpressionError."""
    if len(text) > MAX_CONDITION_LENGTH:
        raise ExpressionError(
            f"a condition of {len(text)} characters", f"at most {MAX_CONDITION_LENGTH}"
        )
    reader = _Reader(text)
    node = reader.either(0)
    if not reader.at_end:
        raise reader.unexpected("an operator (== != < > <= >= && ||), or the end")
    return Condition(text, node)


# --- reading --------------------------------------------------------------------------------------


class _Reader:
    """Recursive descent over the tokens; `!` binds strongest, then comparison, `&&`, `||`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    @property
    def at_end(self) -> bool:
        return self._next == len(self._tokens)

    def unexpected(self, wanted: str) -> ExpressionError:
        found = "the end" if self.at_end else repr(self._tokens[self._next][1])
        return ExpressionError(f"{found} in {self._text!r}", wanted)

    def either(self, depth: int) -> Node:
        node = self._both(depth)
        while self._take("||"):
            node = Either(node, self._both(depth))
        return node

    def _both(self, depth: int) -> Node:
        node = self._unary(depth)
        while self._take("&&"):
            node = Both(node, self._unary(depth))
        return node

    def _unary(self, depth: int) -> Node:
        if depth > MAX_NESTING:
            raise ExpressionError(repr(self._text), f"at most {MAX_NESTING} nested parentheses")
        if self._take("!"):
            return Not(self._unary(depth + 1))
        if self._take("("):
            node = self.either(depth + 1)
            if not self._take(")"):
                raise self.unexpected("a closing parenthesis")
            return node
        return self._comparison()

    def _comparison(self) -> Node:
        left = self._operand()
        if not self.at_end and self._tokens[self._next][1] in _COMPARISONS:
            sign = self._tokens[self._next][1]
            self._next += 1
            return Compare(sign, left, self._operand())
        return left

    def _operand(self) -> Operand:
        if self.at_end:
            raise self.unexpected("a value or an expression")
        kind, text = self._tokens[self._next]
        if kind == "operator":
            raise self.unexpected("a value or an expression")
        self._next += 1
        return Operand(_literal(kind, text))

    def _take(self, sign: str) -> bool:
        if self.at_end or self._tokens[self._next] != ("operator", sign):
            return False
        self._next += 1
        return True


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    end = len(text.rstrip())
    at = 0
    while at < end:
        found = _TOKEN.match(text, at, end)
        if found is None or found.lastgroup is None:
            raise ExpressionError(
                f"{text[at:].strip()[:40]!r} in {text!r}",
                "an expression that begins with $, a quoted string, a number, true, false, null, "
                "or an operator",
            )
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _literal(kind: str, text: str) -> Any:
    match kind:
        case "single":
            return text[1:-1].replace("''", "'")
        case "double":
            return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        case "number":
            return _number(text)
        case "word":
            return _WORDS[text]
        case _:
            return parse_expression(text)


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise ExpressionError(text[:40], "a number of double precision")
    return int(text) if _INTEGER.fullmatch(text) else value


# --- judging --------------------------------------------------------------------------------------


def _judge(node: Node) -> Callable[[Scope], bool]:
    """What a condition says, as a function."""
    match node:
        case Operand():
            value = node.reader()
            return lambda scope: bool(value(scope))
        case Compare():
            return _judge_comparison(node)
        case Not():
            part = _judge(node.part)
            return lambda scope: not part(scope)
        case Both():
            left, right = _judge(node.left), _judge(node.right)
            return lambda scope: left(scope) and right(scope)
        case Either():
            left, right = _judge(node.left), _judge(node.right)
            return lambda scope: left(scope) or right(scope)


def _judge_comparison(node: Compare) -> Callable[[Scope], bool]:
    left, right, sign, wanted = node.left.reader(), node.right.reader(), node.sign, node.right.value
    if sign == "==" and type(wanted) is int:  # `$statusCode == 200`, nearly always

        def equals(scope: Scope) -> bool:
            value = left(scope)
            return value == wanted if type(value) is int else compare(sign, value, wanted)

        return equals
    return lambda scope: compare(sign, left(scope), right(scope))


def compare(sign: str, left: Any, right: Any) -> bool:
    """One comparison of JSON values; different kinds are unequal and in no order."""
    left, right = _comparable(left, right), _comparable(right, left)
    same_kind = _kind(left) == _kind(right)
    if sign in ("==", "!="):
        equal = same_kind and left == right
        return equal is (sign == "==")
    if not same_kind or _kind(left) not in ("number", "string"):
        return False
    return bool(_ORDER[sign](left, right))


def _comparable(value: Any, other: Any) -> Any:
    if value is ABSENT:
        return None
    if not isinstance(value, str):
        return value
    if _kind(other) == "number" and _NUMBER.fullmatch(value):
        return int(value) if _INTEGER.fullmatch(value) else float(value)
    return value.casefold()


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
        case _:
            return type(value).__name__


def _expressions(node: Node) -> Iterator[Expression]:
    match node:
        case Operand():
            if isinstance(node.value, Expression):
                yield node.value
        case Not():
            yield from _expressions(node.part)
        case Compare() | Both() | Either():
            yield from _expressions(node.left)
            yield from _expressions(node.right)


def _guess(node: Node, status: int) -> bool | None:
    """Three-valued: True or False when the status alone decides, else None."""
    match node:
        case Operand():
            return None if isinstance(node.value, Expression) else bool(node.value)
        case Compare():
            return _guess_comparison(node, status)
        case Not():
            part = _guess(node.part, status)
            return None if part is None else not part
        case Both() | Either():
            decisive = isinstance(node, Either)
            sides = (_guess(node.left, status), _guess(node.right, status))
            if decisive in sides:
                return decisive
            return None if None in sides else not decisive


def _guess_comparison(node: Compare, status: int) -> bool | None:
    values = []
    for operand in (node.left, node.right):
        value = operand.value
        if isinstance(value, Expression):
            if value.root is not Root.STATUS:
                return None
            value = status
        values.append(value)
    return compare(node.sign, *values)
