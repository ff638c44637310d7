"""Arazzo runtime expressions: read once, evaluated often.

    $inputs.order.id            $steps.charge.outputs.id        $statusCode  $url  $method
    $response.body#/items/0     $response.header.ETag           $request.body  $request.path.id

After a name, `.field` and `[0]` go deeper, `#/pointer` as well. Within a longer string an
expression stands in braces: `Order {$inputs.order_id}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.definitions.pointers import pointer_tokens
from orchestrator.definitions.problems import ExpressionError, Path, UnresolvedExpression, pointer
from orchestrator.definitions.scope import Exchange, Scope, UnreadableBody
from orchestrator.definitions.values import ABSENT, dig, dig_name
from orchestrator.errors import Problem

MAX_EXPRESSION_LENGTH = 2000
KNOWN = (
    "$inputs.NAME, $steps.ID.outputs.NAME, $workflows.ID.outputs.NAME, $statusCode, "
    "$response.body#/POINTER, "
    "$response.header.NAME, $request.body#/POINTER, $request.(header|query|path).NAME, $url or "
    "$method"
)


class Root(StrEnum):
    """What an expression starts from."""

    INPUTS = "inputs"
    STEPS = "steps"
    WORKFLOWS = "workflows"
    STATUS = "statusCode"
    URL = "url"
    METHOD = "method"
    RESPONSE_BODY = "response.body"
    RESPONSE_HEADER = "response.header"
    REQUEST_BODY = "request.body"
    REQUEST_HEADER = "request.header"
    REQUEST_QUERY = "request.query"
    REQUEST_PATH = "request.path"


_NOTHING: Mapping[str, Any] = {}
BEFORE_SENDING = frozenset({Root.INPUTS, Root.STEPS, Root.WORKFLOWS})
"""Roots that are known before a request is made."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One runtime expression."""

    text: str
    root: Root
    step: str = ""  # of $steps
    name: str = ""  # input, output, header or parameter
    accessors: tuple[str | int, ...] = ()  # what follows, and the pointer's tokens
    evaluate: Callable[[Scope], Any] = field(init=False, repr=False, compare=False)
    """Its value, or ABSENT. Raises UnreadableBody when a 2xx answer's body is not JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evaluate", _reader(self))

    @property
    def names(self) -> frozenset[str]:
        """What its name may be: names may have dots in them, and so may what leads deeper."""
        parts = [self.name, *map(str, self.accessors)]
        return frozenset(".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _reader(expression: Expression) -> Callable[[Scope], Any]:
    """What an expression says, as a function: nothing is left to decide when it is called."""
    name, accessors, step = expression.name, expression.accessors, expression.step
    match expression.root:
        case Root.INPUTS if not accessors:
            return lambda scope: scope.facts.inputs.get(name, ABSENT)
        case Root.INPUTS:
            return lambda scope: dig_name(scope.facts.inputs, name, accessors)
        case Root.STEPS | Root.WORKFLOWS:
            return lambda scope: dig_name(scope.facts.outputs.get(step, _NOTHING), name, accessors)
    read = _exchange_reader(expression.root, name, accessors)

    def evaluate(scope: Scope) -> Any:
        return ABSENT if scope.exchange is None else read(scope.exchange, scope)

    return evaluate


def _exchange_reader(
    root: Root, name: str, accessors: tuple[str | int, ...]
) -> Callable[[Exchange, Scope], Any]:
    """Of an expression about what was sent or answered."""
    low, place = name.lower(), root.partition(".")[2]
    match root:
        case Root.STATUS:
            return lambda exchange, _: exchange.response.status
        case Root.METHOD:
            return lambda exchange, _: exchange.request.method
        case Root.URL:
            return lambda exchange, _: exchange.request.target
        case Root.RESPONSE_HEADER:
            return lambda exchange, _: exchange.response.headers.get(low, ABSENT)
        case Root.RESPONSE_BODY if accessors:
            return lambda exchange, _: dig(exchange.body, accessors)
        case Root.RESPONSE_BODY:
            return lambda exchange, _: exchange.whole_body
        case Root.REQUEST_BODY:
            return lambda exchange, _: dig(exchange.request_body, accessors)
        case _:
            return lambda exchange, scope: exchange.request_part(place, name, scope)


_STEP = re.compile(r"(?P<step>[A-Za-z0-9_-]+)\.outputs\.(?P<rest>.+)", re.DOTALL)
_WORKFLOW = re.compile(
    r"\$(?:workflows\.(?P<id>[A-Za-z0-9_-]+)\.(?P<what>inputs|outputs)"
    r"|dependencies\.(?P<other>[A-Za-z0-9_-]+)(?:\.outputs)?)\.(?P<rest>.+)",
    re.DOTALL,
)
_NAMED = re.compile(r"(?P<name>[^.\[\]#{}\s]+)(?P<rest>(?:\.[^.\[\]#{}\s]+|\[\d{1,9}\])*)")
_ACCESSOR = re.compile(r"\.([^.\[\]#{}\s]+)|\[(\d{1,9})\]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 header name
_PARAMETER = re.compile(r"[^\x00-\x1f{}]+")  # any text without braces (RFC 7159's CHAR)
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]+")
_BARE = {"$statusCode": Root.STATUS, "$url": Root.URL, "$method": Root.METHOD}
_PREFIXED = (Root.RESPONSE_HEADER, Root.REQUEST_HEADER, Root.REQUEST_QUERY, Root.REQUEST_PATH)
_BODIES = (Root.RESPONSE_BODY, Root.REQUEST_BODY)


def parse_expression(text: str) -> Expression:
    """Read one expression. Raises ExpressionError."""
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(
            f"an expression of {len(text)} characters", f"at most {MAX_EXPRESSION_LENGTH}"
        )
    if text in _BARE:
        return Expression(text, _BARE[text])
    if text.startswith("$inputs."):
        name, accessors = _named(text, text.removeprefix("$inputs."))
        return Expression(text, Root.INPUTS, name=name, accessors=accessors)
    if text.startswith("$steps."):
        return _step_expression(text)
    if text.startswith(("$workflows.", "$dependencies.")):
        return _workflow_expression(text)
    for root in _BODIES:
        if text.startswith(f"${root}"):
            return _body_expression(text, root)
    for root in _PREFIXED:
        if text.startswith(f"${root}."):
            return _prefixed_expression(text, root)
    wanted = next((why for start, why in _ELSEWHERE.items() if text.startswith(start)), KNOWN)
    raise ExpressionError(repr(text), wanted)


_ELSEWHERE = {
    "$message.": "an expression of a call: messages (AsyncAPI) are not sent or received",
    "$response.payload": "$response.body: payloads are of messages (AsyncAPI)",
    "$request.payload": "$request.body: payloads are of messages (AsyncAPI)",
    "$outputs.": "$steps.ID.outputs.NAME: a workflow's own outputs are known at its end alone",
    "$components.": "{reference: $components.KIND.NAME} in place of a parameter or an action",
    "$sourceDescriptions.": (
        "$sourceDescriptions.NAME.(url|type|name) in a value, or an operation's or workflow's id "
        "where a step names what it calls"
    ),
    "$self": "$self in a value, of a document that has one",
}
"""Of the specification's grammar, but of no use where a run evaluates expressions."""


def _step_expression(text: str) -> Expression:
    found = _STEP.fullmatch(text.removeprefix("$steps."))
    if found is None:
        raise ExpressionError(repr(text), "$steps.ID.outputs.NAME")
    name, accessors = _named(text, found["rest"])
    return Expression(text, Root.STEPS, step=found["step"], name=name, accessors=accessors)


def _workflow_expression(text: str) -> Expression:
    """Of a workflow that ran before; `$dependencies.ID.NAME` is a common way to say outputs."""
    found = _WORKFLOW.fullmatch(text)
    if found is None:
        raise ExpressionError(repr(text), "$workflows.ID.outputs.NAME or $workflows.ID.inputs.NAME")
    name, accessors = _named(text, found["rest"])
    step = f"workflow:{found['id'] or found['other']}" + (
        "/$inputs" if found["what"] == "inputs" else ""
    )
    return Expression(text, Root.WORKFLOWS, step=step, name=name, accessors=accessors)


def _body_expression(text: str, root: Root) -> Expression:
    rest, _, after = text.removeprefix(f"${root}").partition("#")
    if "#" in text and rest == "":
        return Expression(text, root, accessors=_pointer_tokens(text, after))
    if "#" in text or not re.fullmatch(rf"(?:{_ACCESSOR.pattern})*", rest):
        raise ExpressionError(repr(text), f"${root} or ${root}#/POINTER")
    return Expression(text, root, accessors=_accessors(rest))


def _prefixed_expression(text: str, root: Root) -> Expression:
    name = text.removeprefix(f"${root}.")
    is_header = root in (Root.RESPONSE_HEADER, Root.REQUEST_HEADER)
    if not (_TOKEN if is_header else _PARAMETER).fullmatch(name):
        raise ExpressionError(repr(text), f"${root}.NAME")
    return Expression(text, root, name=name if is_header else _unescaped(text, name))


def _unescaped(text: str, name: str) -> str:
    """A name in which JSON's escapes stand for what a document cannot hold as it is."""
    if "\\" not in name:
        return name
    try:
        return str(json.loads(f'"{name}"'))
    except ValueError:
        raise ExpressionError(repr(text), "backslashes as in JSON: \\\\ for one") from None


def _named(text: str, rest: str) -> tuple[str, tuple[str | int, ...]]:
    before, hash_sign, after = rest.partition("#")
    found = _NAMED.fullmatch(before)
    if found is None and _IDENTIFIER.fullmatch(before):  # dots that lead nowhere are of the name
        return before, _pointer_tokens(text, after) if hash_sign else ()
    if found is None:
        several = "; none for several values, as [*] is in JSONPath" if "*" in text else ""
        raise ExpressionError(repr(text), f"a name, then .field, [0] or #/pointer{several}")
    tokens = _pointer_tokens(text, after) if hash_sign else ()
    return found["name"], (*_accessors(found["rest"]), *tokens)


def _accessors(text: str) -> tuple[str | int, ...]:
    return tuple(
        found[1] if found[1] is not None else int(found[2]) for found in _ACCESSOR.finditer(text)
    )


def _pointer_tokens(text: str, raw: str) -> tuple[str, ...]:
    try:
        return pointer_tokens(raw)
    except ExpressionError as error:
        raise ExpressionError(repr(text), f"after '#' {error.wanted}") from None


# --- values with expressions in them --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value whose strings may be expressions; compiled from a document."""

    path: Path

    def resolve(self, scope: Scope) -> Any:
        """The value for this run, or ABSENT for an optional input that was not given.

        Raises UnresolvedExpression.
        """
        raise NotImplementedError

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression in it, with its place."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Literal(Value):
    """A value without any expression."""

    value: Any

    def resolve(self, scope: Scope) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class Reference(Value):
    """One expression, or several of which the first that leads somewhere counts."""

    choices: tuple[Expression, ...]
    optional: bool = False

    def resolve(self, scope: Scope) -> Any:
        for expression in self.choices:
            value = expression.evaluate(scope)
            if value is not ABSENT:
                return value
        if self.optional or any(expression.root is Root.INPUTS for expression in self.choices):
            return ABSENT
        raise unresolved(self.path, " or ".join(choice.text for choice in self.choices))

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        return ((self.path, expression) for expression in self.choices)


@dataclass(frozen=True, slots=True)
class Text(Value):
    """A string with expressions in braces."""

    parts: tuple[str | Expression, ...]

    def resolve(self, scope: Scope) -> Any:
        return self.joined(scope)

    def joined(self, scope: Scope, encode: Callable[[str], str] = str) -> str:
        """The whole text; `encode` says what becomes of each value that is put in."""
        return "".join(
            part if isinstance(part, str) else encode(self._text(part, scope))
            for part in self.parts
        )

    def _text(self, expression: Expression, scope: Scope) -> str:
        value = expression.evaluate(scope)
        if value is ABSENT or value is None:
            raise unresolved(self.path, expression.text)
        return as_text(value)

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        return ((self.path, part) for part in self.parts if isinstance(part, Expression))


@dataclass(frozen=True, slots=True)
class Fields(Value):
    """An object; fields of absent optional inputs are left out."""

    fields: tuple[tuple[str, Value], ...]

    def resolve(self, scope: Scope) -> Any:
        found = {}
        for name, field_value in self.fields:
            value = field_value.resolve(scope)
            if value is not ABSENT:
                found[name] = value
        return found

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        for _, value in self.fields:
            yield from value.expressions()


@dataclass(frozen=True, slots=True)
class Items(Value):
    """An array; nothing can be left out of it, or the rest would move."""

    items: tuple[Value, ...]

    def resolve(self, scope: Scope) -> Any:
        resolved = [item.resolve(scope) for item in self.items]
        for item, value in zip(self.items, resolved, strict=True):
            if value is ABSENT:
                raise unresolved(item.path, "an input")
        return resolved

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        for item in self.items:
            yield from item.expressions()


@dataclass(frozen=True, slots=True)
class Selection(Value):
    """What a selector finds in what an expression leads to."""

    context: Expression
    selector: str
    select: Callable[[Any], Any]

    def resolve(self, scope: Scope) -> Any:
        value = self.context.evaluate(scope)
        try:
            found = ABSENT if value is ABSENT else self.select(value)
        except UnreadableBody as error:
            raise unresolved(
                self.path, f"{self.selector} in {self.context.text} ({error})"
            ) from None
        if found is ABSENT:
            raise unresolved(self.path, f"{self.selector} in {self.context.text}")
        return found

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        return iter(((self.path, self.context),))


FIRST_OF = "x-first-of"
"""Key of an object that stands for the first of its expressions that leads somewhere."""
OPTIONAL = "x-optional"
"""Beside it: when none does, the value is left out."""
SELECT = "x-select"
"""Key of an object that stands for a selector object: {context, selector, type}."""

_BRACED = re.compile(r"\{(\$[^{}]*)\}")


def compile_value(value: Any, path: Path = ()) -> Value:
    """Compile a JSON value. Raises ExpressionError, which names the text."""
    match value:
        case str():
            return _compile_text(value, path)
        case {"x-first-of": list() as choices} if set(value) <= {FIRST_OF, OPTIONAL}:
            parsed = tuple(parse_expression(str(text)) for text in choices)
            return Reference(path, parsed, optional=bool(value.get(OPTIONAL)))
        case {"x-select": {"context": str() as context, "selector": str() as text, "type": kind}}:
            return Selection(path, parse_expression(context), text, _selecting(str(kind), text))
        case Mapping():
            fields = tuple((str(k), compile_value(v, (*path, str(k)))) for k, v in value.items())
            literal = all(isinstance(field, Literal) for _, field in fields)
            return Literal(path, value) if literal else Fields(path, fields)
        case Sequence():
            items = tuple(compile_value(v, (*path, i)) for i, v in enumerate(value))
            literal = all(isinstance(item, Literal) for item in items)
            return Literal(path, value) if literal else Items(path, items)
        case _:
            return Literal(path, value)


def _selecting(kind: str, text: str) -> Callable[[Any], Any]:
    """How a selector finds something in a value. Raises ExpressionError."""
    # Imported where it is used: most plans select nothing, and lxml and a JSONPath parser would
    # add a third to the start of every command.
    match kind:
        case "jsonpath":
            from orchestrator.definitions.json_paths import compile_json_query  # noqa: PLC0415 - rare

            return compile_json_query(text)
        case "xpath":
            from orchestrator.definitions.xml_paths import compile_xml_query  # noqa: PLC0415 - rare

            return compile_xml_query(text)
        case "jsonpointer":
            tokens = pointer_tokens(text)
            return lambda value: dig(value, tokens)
        case _:
            raise ExpressionError(repr(kind), "one of: jsonpath, xpath, jsonpointer")


def _compile_text(text: str, path: Path) -> Value:
    if re.match(r"\$[A-Za-z]", text):
        return Reference(path, (parse_expression(text),))
    if "{$" not in text:
        return Literal(path, text)
    parts: list[str | Expression] = []
    end = 0
    for found in _BRACED.finditer(text):
        parts += [_plain(text[end : found.start()]), parse_expression(found[1])]
        end = found.end()
    parts.append(_plain(text[end:]))
    return Text(path, tuple(part for part in parts if part))


def _plain(text: str) -> str:
    if "{$" in text:
        raise ExpressionError(repr(text), "a closing brace after '{$…'")
    return text


def as_text(value: Any) -> str:
    """A value inside a longer text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def unresolved(path: Path, text: str) -> UnresolvedExpression:
    """The error for an expression that leads nowhere in this run."""
    problem = Problem(
        place=pointer(path) or "the value", found=f"{text}, which leads nowhere in this run",
        wanted="a value",
    )  # fmt: skip
    return UnresolvedExpression(f"{text} has no value in this run", problems=[problem])
