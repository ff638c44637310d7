"""A face that listens on loopback with bounded connections, and those who are slow at it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.connections import Patience, bounded

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A face that listens."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port, self._server = port, server
        self.url = f"http://{LOOPBACK}:{port}"

    @property
    def connections(self) -> int:
        """That it has open."""
        return len(self._server.server_state.connections)

    @property
    def at_work(self) -> int:
        """Requests that it works on."""
        return len(self._server.server_state.tasks)

    async def has(self, connections: int, *, at_work: int = 0, seconds: float = 10.0) -> None:
        """Wait until it has so many open, and so many of them at work. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            # uvicorn counts them, and tells nobody.
            while self.connections != connections or self.at_work < at_work:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def link(self, sent: bytes = b"", *, receive_bytes: int | None = None) -> Link:
        """A connection over which this was sent."""
        with socket.socket() as made:
            made.setblocking(False)
            if receive_bytes is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(made, (LOOPBACK, self.port))
            reader, writer = await asyncio.open_connection(sock=made.dup())
        writer.write(sent)
        return reader, writer


@asynccontextmanager
async def served(
    app: ASGIApp, patience: Patience, kind: type[asyncio.Protocol] = HttpToolsProtocol
) -> AsyncIterator[Served]:
    port = free_port()
    config = uvicorn.Config(
        app, port=port, log_config=None, access_log=False, http=bounded(patience, kind),
        lifespan="off", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        yield Served(port, server)
    finally:
        server.should_exit = True
        await task


async def told(link: Link, *, seconds: float = 5.0) -> bytes:
    """All that comes until the other end closes."""
    reader, writer = link
    try:
        async with asyncio.timeout(seconds):
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def dripping(link: Link, part: bytes, every: float = 0.05) -> bytes:
    """What is answered to somebody who sends this again and again."""
    _, writer = link

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(part)
            await asyncio.sleep(every)

    task = asyncio.create_task(drip())
    try:
        return await told(link)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
