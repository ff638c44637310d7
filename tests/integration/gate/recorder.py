"""A server that stamps the beginning and end of every call, in a process of its own.

`python recorder.py <file>` prints its port, and writes "<monotonic> <+ or -> <connection>" lines
to the file when it is ended with SIGTERM. A lost connection counts as the end of its call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import uvloop


class Recorder(asyncio.Protocol):
    events: ClassVar[list[tuple[float, str, int]]] = []
    connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Recorder.connections += 1
        self.number = Recorder.connections
        self.transport = transport
        self.open = False

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for byte in data.decode():
            self.open = byte == "+"
            self.events.append((now, byte, self.number))
            self.transport.write(b"k")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open:
            self.events.append((time.monotonic(), "-", self.number))


async def serve(path: Path) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with contextlib.suppress(OSError, AttributeError):
        # A clock that is kept waiting for a processor would see bursts that nobody sent.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Recorder, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    lines = [f"{at:.6f} {sign} {number}\n" for at, sign, number in Recorder.events]
    await asyncio.to_thread(path.write_text, "".join(lines))


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
