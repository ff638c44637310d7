"""What an expression can see at one moment: the run's facts, and the exchange if there was one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.definitions.data_urls import text_or_data_url
from orchestrator.definitions.media_types import is_multipart
from orchestrator.definitions.values import ABSENT

_EMPTY_BY_DESIGN = frozenset({204, 205, 304})
_UNREAD = object()
MOST_LEVELS = 250
"""Of arrays and objects inside each other. What writes JSON further on stops not far above."""
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60}", re.ASCII)


class UnreadableBody(Exception):
    """A successful answer's body is needed and is not JSON."""


class Exchange:
    """A request with its answer. Bodies are read when an expression first needs them.

    `succeeded`: whether the status is 2xx.
    """

    __slots__ = ("_body", "_request_value", "request", "response", "succeeded")

    def __init__(
        self,
        request: FrozenRequest,
        response: Response,
        *,
        request_value: Callable[[str, str, Scope], Any] = lambda place, name, scope: ABSENT,
    ) -> None:
        self.request, self.response = request, response
        self.succeeded = 200 <= response.status < 300
        self._request_value = request_value
        self._body: Any = _UNREAD

    @property
    def body(self) -> Any:
        """The answer's JSON, or ABSENT when it has none.

        Raises UnreadableBody when a 2xx answer that must have a body has none that can be read.
        """
        if self._body is _UNREAD:
            self._body = self._read_body()
        return self._body

    def _read_body(self) -> Any:
        raw = self.response.body
        if not raw and (not self.succeeded or self.response.status in _EMPTY_BY_DESIGN):
            return ABSENT
        parsed = _json(raw)
        if parsed is ABSENT and self.succeeded:
            raise UnreadableBody(self._unreadable(raw))
        return parsed

    def _unreadable(self, raw: bytes) -> str:
        """What was found instead of JSON; nothing of the body itself, which may hold anything."""
        if not raw:
            return "it is empty; wanted JSON"
        named = _MEDIA_TYPE.match(self.response.headers.get("content-type", ""))
        kind = f" of {named[0]}" if named else ""
        return f"{len(raw)} bytes{kind} that are not JSON"

    @property
    def whole_body(self) -> Any:
        """The answer's JSON or, where its type says it is something else, its text.

        What is neither is a data URL; sent on, either form gives the same bytes again.
        """
        kind = self.response.headers.get("content-type", "")
        if kind and "json" not in kind.lower():
            return text_or_data_url(self.response.body, kind)
        return self.body

    @property
    def request_body(self) -> Any:
        """What was sent: JSON, a form's fields, text, or bytes as a data URL."""
        raw = self.request.body
        if not raw:
            return ABSENT
        kind = next((v for k, v in self.request.headers if k.lower() == "content-type"), "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
        if is_multipart(kind):
            from orchestrator.definitions.multipart import form_fields  # noqa: PLC0415 - rare

            return form_fields(raw, kind)
        parsed = _json(raw)
        return text_or_data_url(raw, kind) if parsed is ABSENT else parsed

    def request_part(self, place: str, name: str, scope: Scope) -> Any:
        """A header, query or path parameter of the request."""
        if place == "header":
            low = name.lower()
            return next((v for k, v in self.request.headers if k.lower() == low), ABSENT)
        if place == "query":
            query = parse_qsl(urlsplit(self.request.target).query, keep_blank_values=True)
            return next((v for k, v in query if k == name), ABSENT)
        return self._request_value(place, name, scope)


class Scope(NamedTuple):
    """The run's facts, with the exchange that is being judged."""

    facts: Facts
    exchange: Exchange | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The run's inputs, defaults applied."""
        return self.facts.inputs


def _json(raw: bytes) -> Any:
    """What the bytes say, or ABSENT.

    The quick reader and the thorough one agree wherever both read. The latter also takes UTF-16, a
    byte order mark and lone surrogates. Of a key that is there twice both take the last value.
    """
    parsed = _parsed(raw)
    brackets = raw.count(b"[") + raw.count(b"{")
    return ABSENT if brackets > MOST_LEVELS and _is_too_deep(parsed) else parsed


def _parsed(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        pass
    try:
        return json.loads(raw, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return ABSENT


def _is_too_deep(value: Any) -> bool:
    """Whether it could be read, but not be compared, kept or sent on."""
    try:
        orjson.dumps(value)  # which stops at 254 levels, and is twenty times as fast as the loop
        return False
    except TypeError:  # that, or something else that it does not write
        layer = [value]
    for _ in range(MOST_LEVELS):
        layer = [item for one in layer for item in _items(one)]
        if not layer:
            return False
    return True


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    """A number beyond a double would become Infinity, which is not JSON."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text[:20])
    return number


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, and could not be sent on."""
    raise ValueError(name)
