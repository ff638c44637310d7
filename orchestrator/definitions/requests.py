"""Compiled requests: from a call's template and the run's facts to the bytes that are sent.

A template is JSON and keeps Arazzo's names:

    kind: http                                   kind: task      (kind: wait: see waiting.py;
                                                 child: children.py, map: maps.py)
    method: PUT                                  arguments: {amount: $inputs.amount}
    path: /records/{id}
    parameters: [{name, in, value, style, explode, allowReserved, content}]
    requestBody: {contentType, payload, deep: [names], encoding: {NAME: rules}, replacements}
    idempotencyHeader: Idempotency-Key
    security: [[{scheme, kind, …}]]              (see core/demands.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from orchestrator.core.demands import security_from_json
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import Call
from orchestrator.definitions import encoding, styles
from orchestrator.definitions.blocks import KIND as BLOCK_KIND
from orchestrator.definitions.blocks import UNDO_KIND as UNDO_BLOCK_KIND
from orchestrator.definitions.blocks import BlockRequest
from orchestrator.definitions.bodies import Body
from orchestrator.definitions.children import KIND as CHILD_KIND
from orchestrator.definitions.children import UNDO_KIND, ChildRequest, UndoRequest
from orchestrator.definitions.expressions import Expression, Text, Value, compile_value
from orchestrator.definitions.maps import KIND as MAP_KIND
from orchestrator.definitions.maps import UNDO_KIND as UNDO_MAP_KIND
from orchestrator.definitions.maps import MapRequest
from orchestrator.definitions.problems import Path
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT
from orchestrator.definitions.waiting import KIND as WAIT
from orchestrator.definitions.waiting import WaitRequest

TASK_METHOD = "TASK"


class RequestMaker(Protocol):
    """Makes the requests of one call."""

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """The request, with `key` where the call wants it. Raises RequestRefused."""

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """A parameter's value, for `$request.path.NAME`."""

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""


def request_maker(call: Call) -> RequestMaker:
    """Compile a call's request. Raises ExpressionError."""
    if call.template["kind"] == "task":
        return TaskRequest(call)
    if call.template["kind"] == "nothing":
        return NoRequest()
    if call.template["kind"] == WAIT:
        return WaitRequest(call)
    if call.template["kind"] == CHILD_KIND:
        return ChildRequest(call)
    if call.template["kind"] == BLOCK_KIND:
        return BlockRequest(call)
    if call.template["kind"] == MAP_KIND:
        return MapRequest(call)
    if call.template["kind"] in (UNDO_KIND, UNDO_BLOCK_KIND, UNDO_MAP_KIND):
        return UndoRequest()
    return HttpRequest(call.template)


class TaskRequest:
    """A call of a Python function: its keyword arguments as JSON."""

    def __init__(self, call: Call) -> None:
        self._name = call.task_name or ""
        self._arguments = compile_value(call.template.get("arguments", {}), ("arguments",))

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        body = encoding.json_body(self._arguments.resolve(scope))
        return FrozenRequest(method=TASK_METHOD, target=self._name, body=body, key=key)

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        return self._arguments.expressions()


class NoRequest:
    """Of a case in which nothing is to be undone; nobody asks for it."""

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        raise encoding.refused("the undo", "a case in which there is nothing", "a request")

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        return iter(())


class HttpRequest:
    """An operation of an API."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        self._method = template["method"]
        self._path = _path_parts(template["path"])
        self._parameters = [
            _Parameter(index, data) for index, data in enumerate(template.get("parameters", ()))
        ]
        self._by_place = {
            _QUERYSTRING if p.place == "querystring" else (p.place, p.name.lower()): p
            for p in self._parameters
        }
        self._in_query, self._in_headers, self._in_cookies = (
            [p for p in self._parameters if p.place == place]
            for place in ("query", "header", "cookie")
        )
        self._querystring = self._by_place.get(_QUERYSTRING)
        self._key_header: str | None = template.get("idempotencyHeader")
        said = template.get("security")
        self._security = None if said is None else security_from_json(said)
        self._body = Body(template["requestBody"]) if "requestBody" in template else None

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        headers = self._headers(scope, key)
        body = b""
        if self._body is not None:
            body, content_type = self._body.encode(scope)
            headers.append(("Content-Type", content_type))
        return FrozenRequest(
            method=self._method, target=self._target(scope), headers=tuple(headers), body=body,
            key=key, security=self._security,
        )  # fmt: skip

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        parameter = self._by_place.get((place, name.lower()))
        return ABSENT if parameter is None else parameter.value.resolve(Scope(scope.facts))

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        for parameter in self._parameters:
            yield from parameter.value.expressions()
        if self._body is not None:
            yield from self._body.expressions()

    def _target(self, scope: Scope) -> str:
        path = encoding.check_path(
            "".join(
                [self._segment(text, scope) if is_name else text for text, is_name in self._path]
            )
        )
        parts = [part for p in self._in_query for part in p.query_parts(scope)]
        if self._querystring is not None:
            parts += self._querystring.whole_query(scope)
        return f"{path}?{'&'.join(parts)}" if parts else path

    def _segment(self, name: str, scope: Scope) -> str:
        value = self._by_place["path", name.lower()].value.resolve(scope)
        place = f"path parameter {name}"
        if value is ABSENT:
            raise encoding.refused(place, "nothing: the input was not given", "a value")
        return self._by_place["path", name.lower()].segment(value, place)

    def _headers(self, scope: Scope, key: str) -> list[tuple[str, str]]:
        headers = [pair for p in self._in_headers for pair in p.header(scope)]
        cookies = [pair for p in self._in_cookies for pair in p.cookie(scope)]
        if cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in cookies)))
        if self._key_header:
            headers.append((self._key_header, key))
        return headers


class _Parameter:
    """One parameter in its place."""

    def __init__(self, index: int, data: Mapping[str, Any]) -> None:
        self.name: str = data["name"]
        self.place: str = data["in"]
        self.value: Value = compile_value(data["value"], ("parameters", index, "value"))
        self._style: str = data.get("style", styles.STYLES.get(self.place, ("",))[0])
        self._explode: bool = data.get("explode", self.place in ("query", "cookie"))
        self._reserved: bool = data.get("allowReserved", False)
        self._is_content = "content" in data

    @property
    def _where(self) -> str:
        return f"{self.place} parameter {self.name}"

    def _given(self, scope: Scope) -> Any:
        """Its value; an optional input that was not given leaves it out."""
        value = self.value.resolve(scope)
        if value is None or value is ABSENT:
            return ABSENT
        return styles.as_content(value) if self._is_content else value

    def segment(self, value: Any, place: str) -> str:
        """As it stands in the path."""
        given = styles.as_content(value) if self._is_content else value
        return styles.path_text(
            self.name, given, style=self._style, explode=self._explode, place=place
        )

    def query_parts(self, scope: Scope) -> Iterator[str]:
        value = self._given(scope)
        if value is ABSENT:
            return iter(())
        return styles.query_parts(
            self.name, value, style=self._style, explode=self._explode, place=self._where,
            reserved=self._reserved,
        )  # fmt: skip

    def whole_query(self, scope: Scope) -> Iterator[str]:
        """All of the query as one text. What is embedded in it is percent-encoded: a value stays
        a value; JSON is encoded as a whole.
        """
        value = self._given(scope)
        if value is ABSENT:
            return
        if not isinstance(value, str):
            raise encoding.refused(self._where, encoding.kind_of(value), "the query as one text")
        if value.lstrip().startswith(("{", "[")):
            yield quote(encoding.scalar_text(value, self._where), safe="")
            return
        if isinstance(self.value, Text):
            value = self.value.joined(scope, lambda text: quote(text, safe=""))
        text = encoding.scalar_text(value, self._where).removeprefix("?")
        if text:
            yield quote(text, safe=_QUERY_TEXT)

    def header(self, scope: Scope) -> Iterator[tuple[str, str]]:
        value = self._given(scope)
        if value is not ABSENT:
            yield self.name, styles.header_text(value, explode=self._explode, place=self._where)

    def cookie(self, scope: Scope) -> Iterator[tuple[str, str]]:
        value = self._given(scope)
        if value is not ABSENT:
            yield from styles.cookie_pairs(
                self.name, value, explode=self._explode, place=self._where
            )


_NAME = re.compile(r"\{([^{}]+)\}")
_QUERYSTRING = ("querystring", "")
_QUERY_TEXT = "/?:@!$&'()*+,;=~%"
"""What stands in a whole query as it is: it is one already."""
_PATH_TEXT = "/:@!$&'()*+,;=~%?#"
"""Of a template's own text, what stands as it is: it is a path already, of somebody we trust."""


def path_names(path: str) -> list[str]:
    """The parameter names in a path template."""
    return _NAME.findall(path)


def _path_parts(path: str) -> list[tuple[str, bool]]:
    """The template in pieces: (percent-encoded text, False) or (parameter name, True)."""
    pieces = _NAME.split(path)
    return [
        (piece, True) if index % 2 else (quote(piece, safe=_PATH_TEXT), False)
        for index, piece in enumerate(pieces) if piece
    ]  # fmt: skip
