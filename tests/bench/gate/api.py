"""An API that holds its limit strictly, and can be made to misbehave while it runs.

    python -m tests.bench.gate.api --limit 5000/10

prints its base URL and its control port when it listens, and ends with SIGTERM. A call is
`POST /<tenant>-<anything>/<step>`, its undo the same with DELETE. A run whose name ends in `-x<n>`
is refused for good (422) at step `s<n>`. `POST /token` gives a bearer token.

Control: one line of JSON each way on a connection of its own; see `steering.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import signal
import time
from array import array
from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

import httptools
import uvloop

from tests.bench.gate.judging import GRACE_SECONDS, Limit, SlidingWindow

LOOPBACK = "127.0.0.1"
TOKEN_SECONDS = 3600
_BACKLOG = 8192
_REASONS = {
    200: b"OK", 401: b"Unauthorized", 422: b"Unprocessable Content", 429: b"Too Many Requests",
    500: b"Internal Server Error",
}  # fmt: skip


class Mode(StrEnum):
    """How it treats what its limit admits."""

    WELL = "well"
    FAILING = "failing"  # 500
    THROTTLING = "throttling"  # 429, whatever the limit says
    HANGING = "hanging"  # reads and never answers
    REFUSING = "refusing"  # does not listen, and drops all connections


def _answer(status: int, body: bytes = b'{"id": "1"}', more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n" % (status, _REASONS[status])
    return head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


_ANSWERS = {status: _answer(status) for status in _REASONS}


class Api:
    """What it is like now, and what it has seen."""

    def __init__(self, limit: Limit, grace_seconds: float) -> None:
        self._limit = limit
        self._window = SlidingWindow(limit, grace_seconds=grace_seconds)
        self.mode = Mode.WELL
        self.latency_seconds = 0.0
        self._retry_after = b""
        self._wants_token = False
        self._token, self._token_requests = b"", 0
        self.at, self.ended, self.statuses = array("d"), array("d"), array("h")
        self.tenants: list[str] = []
        self._known_tenants: dict[bytes, str] = {}
        self._violations = 0

    # --- calls ------------------------------------------------------------------------------------

    def take(self, url: bytes, *, undo: bool, authorization: bytes) -> int:
        """A call arrives: its number. Its status is known, 0 when it is left without an answer."""
        now = time.monotonic()
        self.at.append(now)
        self.ended.append(math.inf)
        self.tenants.append(self._tenant(url))
        self.statuses.append(self._status(now, url, undo=undo, authorization=authorization))
        return len(self.at) - 1

    def answer(self, number: int) -> bytes:
        """It is answered now."""
        self.ended[number] = time.monotonic()
        status = self.statuses[number]
        if status == 429 and self._retry_after:
            return _answer(status, more=self._retry_after)
        return _ANSWERS[status]

    def token(self) -> bytes:
        """The answer to a request for a token. The one before stays good."""
        self._token_requests += 1
        self._token = self._token or b"token-%d" % self._token_requests
        return _answer(200, json.dumps({
            "access_token": self._token.decode(), "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
        }).encode())  # fmt: skip

    def _status(self, now: float, url: bytes, *, undo: bool, authorization: bytes) -> int:
        if self._wants_token and not self._knows(authorization):
            return 401
        if not self._window.admits(now):
            self._violations += 1
            return 429
        if self.mode is not Mode.WELL:
            return {Mode.FAILING: 500, Mode.THROTTLING: 429}.get(self.mode, 0)
        run, _, step = url[1:].partition(b"/")
        return 422 if not undo and run.endswith(b"-x" + step[1:]) else 200

    def _knows(self, authorization: bytes) -> bool:
        return bool(self._token) and authorization == b"Bearer " + self._token

    def _tenant(self, url: bytes) -> str:
        name = url[1:].partition(b"-")[0]
        return self._known_tenants.setdefault(name, name.decode())

    # --- control ----------------------------------------------------------------------------------

    def set(self, wish: dict[str, Any]) -> None:
        """Be like that from now on. Raises ValueError, KeyError on what it does not know."""
        for name, value in wish.items():
            self._setters()[name](value)

    def _setters(self) -> dict[str, Callable[[Any], None]]:
        return {
            "mode": lambda value: setattr(self, "mode", Mode(value)),
            "latency_seconds": lambda value: setattr(self, "latency_seconds", float(value)),
            "limit_factor": self._set_factor,
            "retry_after_seconds": self._set_retry_after,
            "wants_token": lambda value: setattr(self, "_wants_token", bool(value)),
        }

    def _set_factor(self, factor: float) -> None:
        self._window.amount = max(1, int(self._limit.amount * factor))

    def _set_retry_after(self, seconds: int | None) -> None:
        self._retry_after = b"" if seconds is None else b"Retry-After: %d\r\n" % seconds

    def revoke(self) -> None:
        """The token is good no more."""
        self._token = b""

    def statistics(self) -> dict[str, float]:
        """Of the whole process so far."""
        return {
            "calls": len(self.at), "violations": self._violations,
            "in_flight": sum(math.isinf(ended) for ended in self.ended[-10_000:]),
            "token_requests": self._token_requests, "cpu_seconds": time.process_time(),
        }  # fmt: skip

    def calls(self) -> list[list[Any]]:
        """All: arrival, end (null: not yet), tenant, status."""
        ends = (None if math.isinf(ended) else ended for ended in self.ended)
        return [list(each) for each in zip(self.at, ends, self.tenants, self.statuses, strict=True)]


class Connection(asyncio.Protocol):
    """One client's. It sends one request at a time."""

    def __init__(self, api: Api, open_ones: set[asyncio.Transport]) -> None:
        self._api, self._open_ones = api, open_ones
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = self._authorization = b""
        self._left: int | None = None  # a call that is left without an answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_ones.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._open_ones.discard(self._transport)
        if self._left is not None:
            self._api.ended[self._left] = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._authorization = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value

    def on_message_complete(self) -> None:
        api = self._api
        if self._url == b"/token":
            self._transport.write(api.token())
            return
        undo = self._parser.get_method() == b"DELETE"
        number = api.take(self._url, undo=undo, authorization=self._authorization)
        if not api.statuses[number]:
            self._left = number
        elif api.latency_seconds:
            self._loop.call_later(api.latency_seconds, self._answer, number)
        else:
            self._answer(number)

    def _answer(self, number: int) -> None:
        """It has worked on it for so long, whether or not its client is still there."""
        answer = self._api.answer(number)
        if not self._transport.is_closing():
            self._transport.write(answer)


class Server:
    """Listens, unless it refuses; and is told what to do on its control port."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._open_ones: set[asyncio.Transport] = set()
        self._listening: asyncio.Server | None = None
        self._port = 0

    async def listen(self) -> int:
        """From now on; its port, always the same."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._api, self._open_ones), LOOPBACK, self._port, backlog=_BACKLOG
        )
        self._port = int(self._listening.sockets[0].getsockname()[1])
        return self._port

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One wish, one answer."""
        try:
            wish = json.loads(await reader.readline())
            answer = {"ok": await self._obey(wish)}
        except (ValueError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def _obey(self, wish: dict[str, Any]) -> Any:
        match wish["do"]:
            case "set":
                self._api.set(wish["to"])
                await self._open_or_shut()
                return None
            case "revoke":
                return self._api.revoke()
            case "statistics":
                return self._api.statistics()
            case "calls":
                return self._api.calls()
            case other:
                raise ValueError(f"unknown: {other}")

    async def _open_or_shut(self) -> None:
        refusing = self._api.mode is Mode.REFUSING
        if refusing and self._listening is not None:
            self._listening.close()
            self._listening = None
            for transport in list(self._open_ones):
                transport.abort()
        elif not refusing and self._listening is None:
            await self.listen()


async def _serve(limit: Limit, grace_seconds: float) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    with contextlib.suppress(OSError, AttributeError):
        # A clock that is kept waiting for a processor would see bursts that nobody sent.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    gc.disable()  # nor while it looks for garbage; the few hundred connections make next to none
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = Server(Api(limit, grace_seconds))
    port = await server.listen()
    control = await asyncio.start_server(server.control, LOOPBACK, 0)
    print(f"http://{LOOPBACK}:{port} {control.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()


def _limit(text: str) -> Limit:
    amount, _, seconds = text.partition("/")
    return Limit(amount=int(amount), seconds=int(seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=_limit, required=True, help="amount/seconds, as 5000/10")
    parser.add_argument(
        "--grace", type=float, default=GRACE_SECONDS, help="seconds forgiven of each window"
    )
    options = parser.parse_args()
    uvloop.run(_serve(options.limit, options.grace))
