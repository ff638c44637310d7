"""The ledger as a process: HTTP/1.1 on loopback, its faults done to real connections.

    python -m tests.faults.ledger.server --file ledger.jsonl [--port 0] [--seed 7 --rate 0.1]

prints its address when it listens, and ends with SIGTERM. When the file exists it goes on where the
file ends. A credential is demanded when LEDGER_TOKEN is set: that one, or with
--gives-tokens one that was given out for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import time
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
import uvloop

from tests.faults.ledger.control import PREFIX, control
from tests.faults.ledger.desk import Desk, Point, Settings, Visit
from tests.faults.ledger.faults import FaultPlan
from tests.faults.ledger.limits import Limit, Limits
from tests.faults.ledger.reading import read_records
from tests.faults.ledger.weather import Tokens
from tests.faults.ledger.writing import FileWriter
from tests.faults.workload import KEY_HEADER

LOOPBACK = "127.0.0.1"
TOKEN_VARIABLE = "LEDGER_TOKEN"
_KEY = KEY_HEADER.lower().encode()
_BACKLOG = 1024


class Connection(asyncio.Protocol):
    """One connection of a client, and the caller of one request after the other."""

    def __init__(self, desk: Desk, open_connections: set[Connection]) -> None:
        self._desk = desk
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._visit: Visit | None = None  # of the request that has no answer yet
        self._keep_alive = True
        self.on_message_begin()

    # --- what the loop calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is one over TCP
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        if self._visit is not None:
            self._visit.gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of ours: the loop says so and closes the connection
        except httptools.HttpParserError:
            self._abort()

    # --- what the parser calls --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._target = self._body = b""
        self._key: bytes | None = None
        self._credential: bytes | None = None

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case name if name == _KEY:
                self._key = value
            case b"authorization":
                self._credential = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._visit is not None:
            self._abort()  # no client of ours sends ahead
            return
        method, target = self._parser.get_method().decode(), self._target.decode("latin-1")
        self._keep_alive = self._parser.should_keep_alive()
        if target.startswith(PREFIX):
            self._write(*control(self._desk, method, target, self._body))
            return
        self._answered = False
        visit = self._desk.take(
            method, target, self._body, key=_text(self._key), credential=_text(self._credential),
            caller=self,
        )  # fmt: skip
        if not self._answered:
            self._visit = visit

    # --- what the desk calls ----------------------------------------------------------------------

    def answer(self, status: int, body: bytes, retry_after: str | None) -> bool:
        """See Caller."""
        self._visit, self._answered = None, True
        extra = b"" if retry_after is None else b"Retry-After: " + retry_after.encode() + b"\r\n"
        return self._write(status, body, extra)

    def half(self, status: int, body: bytes) -> None:
        """See Caller."""
        self._visit, self._answered = None, True
        if self._transport is not None:
            self._transport.write(_head(status, len(body), b"") + body[: len(body) // 2])
            self._transport.close()

    def cut(self) -> None:
        """See Caller."""
        self._visit, self._answered = None, True
        self._abort()

    def reach(self, point: Point) -> None:
        """See Caller. Nobody's run can be held from here."""

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, status: int, body: bytes, extra: bytes = b"") -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        transport.write(_head(status, len(body), extra) + body)
        if not self._keep_alive:
            transport.close()
        return True


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _head(status: int, length: int, extra: bytes) -> bytes:
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n"
    fields = f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    return (line + fields).encode() + extra + b"\r\n"


# --- the process ----------------------------------------------------------------------------------


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="A stateful API that writes down all that happens."
    )
    parser.add_argument("--file", type=Path, required=True, help="added to; read when it exists")
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of faults and latencies")
    parser.add_argument("--rate", type=float, default=0.0, help="share of faults, 0 to 1")
    parser.add_argument("--latency", type=float, nargs=2, default=(0.0, 0.0), help="seconds")
    parser.add_argument("--limit", action="append", default=[], help="AMOUNT/SECONDS, repeatable")
    parser.add_argument("--gives-tokens", action="store_true", help="for LEDGER_TOKEN as a secret")
    parser.add_argument("--at-once", type=int, help="most requests in flight")
    return parser.parse_args()


def _desk(options: argparse.Namespace) -> tuple[Desk, FileWriter]:
    limits = [_limit(text) for text in options.limit]
    if options.at_once is not None:
        limits.append(Limit(amount=options.at_once))
    low, high = options.latency
    before = read_records(options.file) if options.file.exists() else None
    writer = FileWriter(options.file)
    secret = os.environ.get(TOKEN_VARIABLE)
    tokens = Tokens(secret) if secret and options.gives_tokens else None
    desk = Desk(
        writer, time.time, faults=FaultPlan(seed=options.seed, rate=options.rate),
        limits=Limits(limits),
        settings=Settings(
            token=secret, tokens=tokens, latency_seconds=(low, high), seed=options.seed
        ),
    )  # fmt: skip
    if before is not None:
        desk.resume(before)
    return desk, writer


def _limit(text: str) -> Limit:
    amount, _, seconds = text.partition("/")
    return Limit(amount=int(amount), seconds=float(seconds))


async def main(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    desk, writer = _desk(options)
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(desk, connections), options.host, options.port, backlog=_BACKLOG
    )
    print(f"http://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()
    for connection in list(connections):
        connection.cut()
    writer.close()


def run() -> None:
    """Entry point."""
    options = _options()
    with contextlib.suppress(OSError, AttributeError):
        # A witness that is kept waiting for a processor would see bursts that nobody sent, and
        # might take a question for older than what it is about.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    gc.set_threshold(100_000)  # it makes few cycles, and none worth a pause
    uvloop.run(main(options))


if __name__ == "__main__":
    run()
