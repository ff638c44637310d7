"""How fast the ledger is: `python -m tests.faults.ledger.measure [seconds]`.

The load is closed: as many keep-alive connections as said, each sends its next request when it has
the answer to the one before.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import psutil
import uvloop

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.ports import AttemptContext
from tests.faults.ledger.desk import Desk
from tests.faults.ledger.running import LedgerProcess
from tests.faults.ledger.transport import LedgerTransport
from tests.faults.ledger.writing import MemoryWriter
from tests.faults.workload import KEY_HEADER

IN_PROCESS = 50_000
CONNECTIONS = 32
CONTEXT = AttemptContext(
    run_id="r", step_id="s1", attempt=1, direction=Direction.FORWARD, tenant="t"
)


async def in_process(count: int) -> float:
    """Processor seconds for each request, well treated, one after the other."""
    transport = LedgerTransport(Desk(MemoryWriter(), time.time))
    begun = time.process_time()
    for number in range(count):
        request = FrozenRequest(
            method="POST", target=f"/keyed/k1-{number:06d}/s1", headers=((KEY_HEADER, str(number)),)
        )
        await transport.send("ledger", request, CONTEXT, timeout_seconds=3.0)
    return (time.process_time() - begun) / count


class _Client(asyncio.Protocol):
    """One connection that is always waiting for an answer."""

    def __init__(self, number: int, until: float) -> None:
        self._number, self._until = number, until
        self._transport: asyncio.Transport | None = None
        self.answers = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # it is one over TCP
        self._send()

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200 "), data
        self.answers += 1
        if time.monotonic() < self._until:
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)

    def _send(self) -> None:
        run = f"k{self._number}-{self.answers:06d}"
        assert self._transport is not None, "connected"
        self._transport.write(
            f"POST /keyed/{run}/s1 HTTP/1.1\r\nHost: ledger\r\nAccept: */*\r\n"
            f"Accept-Encoding: gzip, deflate\r\nUser-Agent: measure\r\n"
            f"{KEY_HEADER}: {run:0>64}\r\nContent-Length: 0\r\n\r\n".encode()
        )


async def over_http(address: str, seconds: float) -> int:
    """Answers received within `seconds`."""
    parts, until = urlsplit(address), time.monotonic() + seconds
    clients = [_Client(number, until) for number in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    for client in clients:
        await loop.create_connection(partial(_the, client), parts.hostname or "", parts.port or 0)
    async with asyncio.timeout(seconds + 10):
        await asyncio.gather(*(client.ended for client in clients))
    return sum(client.answers for client in clients)


def _the(client: _Client) -> _Client:
    return client


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def main(seconds: float) -> None:
    """Print both."""
    micros = asyncio.run(in_process(IN_PROCESS)) * 1e6
    print(f"in process: {micros:.1f} µs of processor for each request")
    with tempfile.TemporaryDirectory() as folder, LedgerProcess(Path(folder)) as ledger:
        server, client = _cpu_seconds(ledger.pid), time.process_time()
        begun = time.monotonic()
        answers = uvloop.run(over_http(ledger.address, seconds))
        took = time.monotonic() - begun
        used = _cpu_seconds(ledger.pid) - server
        mine = time.process_time() - client
        print(
            f"over HTTP, {CONNECTIONS} connections: {answers / took:,.0f} requests/s in"
            f" {took:.1f} s; ledger {used / took:.0%} of a core ({used / answers * 1e6:.0f} µs for"
            f" each request), load {mine / took:.0%}"
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
