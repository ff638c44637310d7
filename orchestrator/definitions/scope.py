"""What an expression can see at one moment: the run's facts, and the exchange if there was one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.definitions.values import ABSENT

_EMPTY_BY_DESIGN = frozenset({204, 205, 304})


class UnreadableBody(Exception):
    """A successful answer's body is needed and is not JSON."""


class Exchange:
    """A request with its answer. Bodies are read when an expression first needs them."""

    def __init__(
        self,
        request: FrozenRequest,
        response: Response,
        *,
        request_value: Callable[[str, str], Any] = lambda place, name: ABSENT,
    ) -> None:
        self.request, self.response = request, response
        self._request_value = request_value

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.response.status < 300

    @cached_property
    def body(self) -> Any:
        """The answer's JSON, or ABSENT when it has none.

        Raises UnreadableBody when a 2xx answer that must have a body has none that can be read.
        """
        raw = self.response.body
        if not raw and (not self.succeeded or self.response.status in _EMPTY_BY_DESIGN):
            return ABSENT
        parsed = _json(raw)
        if parsed is ABSENT and self.succeeded:
            raise UnreadableBody(f"{len(raw)} bytes that are not JSON")
        return parsed

    @cached_property
    def whole_body(self) -> Any:
        """The answer's JSON or, where its type says it is something else, its text."""
        kind = self.response.headers.get("content-type", "")
        if kind and "json" not in kind.lower():
            return self.response.body.decode("utf-8", "replace")
        return self.body

    @cached_property
    def request_body(self) -> Any:
        """What was sent: JSON, a form's fields, or text."""
        raw = self.request.body
        if not raw:
            return ABSENT
        kind = next((v for k, v in self.request.headers if k.lower() == "content-type"), "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
        parsed = _json(raw)
        return raw.decode("utf-8", "replace") if parsed is ABSENT else parsed

    def request_part(self, place: str, name: str) -> Any:
        """A header, query or path parameter of the request."""
        if place == "header":
            low = name.lower()
            return next((v for k, v in self.request.headers if k.lower() == low), ABSENT)
        if place == "query":
            query = parse_qsl(urlsplit(self.request.target).query, keep_blank_values=True)
            return next((v for k, v in query if k == name), ABSENT)
        return self._request_value(place, name)


@dataclass(frozen=True, slots=True)
class Scope:
    """The run's facts, with the exchange that is being judged."""

    facts: Facts
    exchange: Exchange | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The run's inputs, defaults applied."""
        return self.facts.inputs


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return ABSENT


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, and could not be sent on."""
    raise ValueError(name)
