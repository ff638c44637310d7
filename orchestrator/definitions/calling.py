"""Calls of APIs from within an isolated function.

    @task(isolation="process", calls=["shop"], effects="keyed")
    def order(sku: str) -> dict[str, str]:
        answer = call_api("shop", "POST", "/orders", json={"sku": sku})
        if answer.status == 402:
            raise NotLanded("declined")
        return {"order": answer.json()["id"]}

The sandbox has no network. A call is asked of the worker over an inherited pipe; the worker looks
whether it is allowed, waits for the API's leave, adds credentials and an idempotency key, and sends
it. Threads of one function take turns.
"""

from __future__ import annotations

import base64
import json as json_text
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from orchestrator.errors import InDoubt, NotLanded

_CHUNK = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiAnswer:
    """A complete answer, whatever its status. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json_text.loads(self.body)


def call_api(
    api: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    body: bytes = b"",
) -> ApiAnswer:
    """Send one request and wait for its answer. `target`: path and query, percent-encoded.

    `json` is the body as JSON, with its content type; without it `body` is sent as it is. Raises
    NotLanded where the request certainly did not leave or is not allowed, InDoubt where it may
    have left. Neither need be handled: both are the outcome of the step.
    """
    sent = dict(headers or {})
    if json is not None:
        body = json_text.dumps(json).encode()
        sent.setdefault("content-type", "application/json")
    wish = {
        "api": api, "method": method, "target": target, "headers": [*map(list, sent.items())],
        "body": base64.b64encode(body).decode(),
    }  # fmt: skip
    return _answer(_line.ask(json_text.dumps(wish).encode()))


class _Line:
    """To the worker, one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asks, self._hears = -1, -1

    def open(self, asks: int, hears: int) -> None:
        self._asks, self._hears = asks, hears

    def ask(self, line: bytes) -> Any:
        if self._asks < 0:
            raise NotLanded("no API can be called from here: the task says none in `calls`")
        with self._lock:
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[os.write(self._asks, rest) :]
            answer = bytearray()
            while not answer.endswith(b"\n"):
                chunk = os.read(self._hears, _CHUNK)
                if not chunk:
                    raise InDoubt("the worker closed the line in the middle of a call")
                answer += chunk
        return json_text.loads(answer)


_line = _Line()


def open_line(asks: int, hears: int) -> None:
    """Descriptors on which calls are asked and heard of; said by the sandbox's guest."""
    _line.open(asks, hears)


def _answer(said: Any) -> ApiAnswer:
    [(kind, told)] = said.items()
    if kind != "answer":
        _raise(kind, told)
    return ApiAnswer(
        status=told["status"], headers=told["headers"], body=base64.b64decode(told["body"])
    )


def _raise(kind: str, told: Mapping[str, Any]) -> NoReturn:
    again = told["retry_after_seconds"]
    if kind == "in_doubt":
        raise InDoubt(told["reason"], retry_after_seconds=again)
    raise NotLanded(told["reason"], retryable=told["retryable"], retry_after_seconds=again)
