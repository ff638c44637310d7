"""A proxy that passes bytes on and stamps the beginning and end of every HTTP exchange.

`python http_recorder.py <port of the server> <file>` prints its port, and writes the same lines as
recorder.py when it is ended. An exchange begins with a request's first byte and ends with the
answer's last; requests on one connection come one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
EVENTS: list[tuple[float, str, int]] = []


class Exchange:
    """What one client connection is in the middle of."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: bytes | None = None  # None: nothing under way

    def request(self) -> None:
        if self.answer is None:
            self.answer = b""
            EVENTS.append((time.monotonic(), "+", self.number))

    def answered(self, data: bytes) -> None:
        self.answer = (self.answer or b"") + data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self.over()

    def over(self) -> None:
        if self.answer is not None:
            self.answer = None
            EVENTS.append((time.monotonic(), "-", self.number))


async def relay(
    server: int, exchange: Exchange, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    reader, writer = client
    answers, requests = await asyncio.open_connection("127.0.0.1", server)

    async def there() -> None:
        while data := await reader.read(65536):
            exchange.request()
            requests.write(data)
        requests.close()

    async def back() -> None:
        while data := await answers.read(65536):
            writer.write(data)
            exchange.answered(data)
        writer.close()

    with contextlib.suppress(ConnectionError):
        await asyncio.gather(there(), back())
    exchange.over()
    requests.close()
    writer.close()


async def serve(server: int, path: Path) -> None:
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await relay(server, Exchange(connections), (reader, writer))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with contextlib.suppress(OSError, AttributeError):
        # A clock that is kept waiting for a processor would see bursts that nobody sent.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    listener = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    lines = [f"{at:.6f} {sign} {number}\n" for at, sign, number in EVENTS]
    await asyncio.to_thread(path.write_text, "".join(lines))
    os._exit(0)  # connections may still be open


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
