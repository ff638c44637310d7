"""A proxy that stamps the beginning and the end of every HTTP request, in a process of its own.

`python recording_proxy.py <upstream port> <file> <delay seconds>` prints its port, passes requests
on to the upstream on loopback, holds each answer back for the delay (until SIGUSR1: from then on
for none), and writes "<monotonic> <+ or -> <number>" lines to the file when it is ended with
SIGTERM. A request begins with its first byte and ends when its answer starts on its way to the
client, or is lost. Beside it, in "<file>.calls", it writes a JSON array for each whole answer:
method, target, SHA-256 of the request's body ("" for none), status.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import uvloop

END_OF_HEAD = b"\r\n\r\n"
LARGEST_HEAD = 64 * 1024


class Proxy:
    """All connections of one proxy."""

    def __init__(self, upstream_port: int, delay_seconds: float) -> None:
        self._upstream_port, self._delay = upstream_port, delay_seconds
        self._requests = 0
        self.lines: list[str] = []
        self.calls: list[str] = []

    def hurry(self) -> None:
        """Hold no answer back any more."""
        self._delay = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, on one connection to the upstream."""
        there = await asyncio.open_connection("127.0.0.1", self._upstream_port, limit=LARGEST_HEAD)
        try:
            while await self._pass_on(reader, writer, *there):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            there[1].close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        first = await reader.read(1)
        if not first:
            return False
        self._requests += 1
        number = self._requests
        self._note("+", number)
        try:
            head = first + await reader.readuntil(END_OF_HEAD)
            body = await _body(reader, head)
            upstream.write(head + body)
            answer = await _answer(answers, bodiless=head.startswith(b"HEAD "))
            self.calls.append(_told(head, body, answer))
            await asyncio.sleep(self._delay)
        finally:
            self._note("-", number)
        writer.write(answer)
        await writer.drain()
        return True

    def _note(self, sign: str, number: int) -> None:
        self.lines.append(f"{time.monotonic():.6f} {sign} {number}\n")


def _told(head: bytes, body: bytes, answer: bytes) -> str:
    method, target, _ = head.split(b" ", 2)
    digest = hashlib.sha256(body).hexdigest() if body else ""
    return json.dumps([method.decode(), target.decode(), digest, _status(answer)]) + "\n"


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def _answer(reader: asyncio.StreamReader, *, bodiless: bool) -> bytes:
    head = await reader.readuntil(END_OF_HEAD)
    if bodiless or _status(head) in (204, 304):
        return head
    return head + await _body(reader, head)


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """What follows a head: as long as it says, or in chunks."""
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if fields.get(b"transfer-encoding") == b"chunked":
        return await _chunks(reader)
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        whole += size + await reader.readexactly(int(size, 16) + 2)
        if int(size, 16) == 0:
            return whole


async def main(upstream_port: int, path: Path, delay_seconds: float) -> None:
    ended = asyncio.Event()
    with contextlib.suppress(OSError, AttributeError):
        # A clock that is kept waiting for a processor would see bursts that nobody sent.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    proxy = Proxy(upstream_port, delay_seconds)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, proxy.hurry)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    await asyncio.to_thread(path.write_text, "".join(proxy.lines))
    await asyncio.to_thread(Path(f"{path}.calls").write_text, "".join(proxy.calls))
    os._exit(0)  # connections may still be open


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
