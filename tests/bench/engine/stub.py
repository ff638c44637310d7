"""An API that answers every request after the same time, and can say what that costs it.

    python -m tests.bench.engine.stub --latency 0.02

prints its address when it listens, and ends with SIGTERM. `GET /-/` answers with its statistics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

from orchestrator.embedded.process import Child, ChildSpec, stop_all

LOOPBACK = "127.0.0.1"
_BACKLOG = 8192
_KEY_HEADER = b"idempotency-key"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
_BODY = b'{"id": "1"}'
_ANSWER = _HEAD + b"%d\r\n\r\n" % len(_BODY) + _BODY
_ROOT = Path(__file__).parents[3]


class Counts:
    """Of the whole process."""

    def __init__(self, *, count_keys: bool = False) -> None:
        self.requests = self.in_flight = self.most = 0
        self.keys: Counter[bytes] | None = Counter() if count_keys else None

    def to_json(self) -> bytes:
        """With the CPU seconds that the process has used."""
        found = {
            "requests": self.requests, "in_flight": self.in_flight, "most": self.most,
            "cpu_seconds": time.process_time(),
        }  # fmt: skip
        if self.keys is not None:
            found["keys"] = len(self.keys)
            found["repeated"] = self.keys.total() - len(self.keys)
        return json.dumps(found).encode()


class Connection(asyncio.Protocol):
    """One client's."""

    def __init__(self, counts: Counts, latency_seconds: float) -> None:
        self._counts, self._latency = counts, latency_seconds
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._counts.keys is not None and name.lower() == _KEY_HEADER:
            self._counts.keys[value] += 1

    def on_message_complete(self) -> None:
        counts = self._counts
        if self._url == b"/-/":
            body = counts.to_json()
            self._transport.write(_HEAD + b"%d\r\n\r\n" % len(body) + body)
            return
        counts.requests += 1
        counts.in_flight += 1
        counts.most = max(counts.most, counts.in_flight)
        self._loop.call_later(self._latency, self._answer)

    def _answer(self) -> None:
        self._counts.in_flight -= 1
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def _serve(latency_seconds: float, *, count_keys: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    counts = Counts(count_keys=count_keys)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(
        lambda: Connection(counts, latency_seconds), LOOPBACK, 0, backlog=_BACKLOG
    )
    print(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()


class Stub:
    """The process, from outside. Leaving it as a context ends it."""

    def __init__(self, folder: Path, *, latency_seconds: float, count_keys: bool = False) -> None:
        self.address = ""
        self._log = folder / "stub.log"
        argv = (
            *(sys.executable, "-m", __spec__.name, "--latency", str(latency_seconds)),
            *(("--count-keys",) if count_keys else ()),
        )
        env = {"PYTHONPATH": str(_ROOT)}
        self._child = Child(
            ChildSpec(name="stub", argv=argv, env=env, ready=self._listens), self._log
        )

    def __enter__(self) -> Stub:
        self._child.start()
        self._child.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        stop_all([self._child])

    def statistics(self) -> Mapping[str, Any]:
        """requests, in_flight, most (at once), cpu_seconds; where keys are counted, `keys` that it
        has seen and requests that `repeated` one of them. Raises OSError."""
        with urllib.request.urlopen(f"{self.address}/-/", timeout=20) as answer:
            found: Mapping[str, Any] = json.load(answer)
        return found

    def _listens(self) -> bool:
        with suppress(FileNotFoundError):
            first, newline, _ = self._log.read_text().partition("\n")
            if newline and first.startswith("http://"):
                self.address = first
                return True
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--count-keys", action="store_true", help="which were sent before")
    options = parser.parse_args()
    uvloop.run(_serve(options.latency, count_keys=options.count_keys))
