"""Roads over loopback: a TCP proxy that is slow, cut, stranded, or leads to another server.

Everything runs on a thread of its own, so that who uses a road need not be asynchronous.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator.embedded.address import LOOPBACK

_CHUNK = 64 * 1024
_CALL_SECONDS = 10.0

_Answer = TypeVar("_Answer")


class Road:
    """To one server on loopback; a context manager."""

    def __init__(self, leads_to: int, *, seed: int = 1) -> None:
        self._leads_to, self._jitter = leads_to, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="road", daemon=True)
        self._open = asyncio.Event()
        self._delay = (0.0, 0.0)
        self._links: set[_Link] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def slow(self, seconds: float, *, more: float = 0.0) -> None:
        """Each way takes so long from now on, and up to so much longer."""
        self._call(self._set_delay(seconds, more))

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told; `mend` lets all of it arrive."""
        self._call(self._set_open(to=False))

    def mend(self) -> None:
        """What has been sent meanwhile arrives, and so does what is sent from now on."""
        self._call(self._set_open(to=True))

    def strand(self) -> int:
        """The connections that there are stay open and silent for ever; how many. New ones work."""
        return self._call(self._strand())

    def lead_to(self, port: int) -> None:
        """To another server: connections are reset, and new ones end there."""
        self._call(self._turn(port))

    def _call(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    # --- on the road's own loop -------------------------------------------------------------------

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        links = list(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    async def _set_delay(self, seconds: float, more: float) -> None:
        self._delay = (seconds, more)

    async def _set_open(self, *, to: bool) -> None:
        if to:
            self._open.set()
        else:
            self._open.clear()

    async def _strand(self) -> int:
        for link in self._links:
            link.stranded = True
        return len(self._links)

    async def _turn(self, port: int) -> None:
        self._leads_to = port
        for link in list(self._links):
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(writer, task)
        self._links.add(link)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(LOOPBACK, self._leads_to)
            link.writers.append(back)
            ways = self._carry(reader, back, link), self._carry(there, writer, link)
            await asyncio.gather(*ways)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the road is closed or leads elsewhere
        finally:
            link.reset()
            self._links.discard(link)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        """One way. What is under way is not in the way of what comes after it."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, writer, link))
        try:
            data = b"-"
            while data:
                data = await reader.read(_CHUNK)
                seconds, more = self._delay
                wait = seconds + more * self._jitter.random()
                under_way.put_nowait((self._loop.time() + wait, data))
            await arriving
        finally:
            arriving.cancel()

    async def _arrive(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter,
        link: _Link,
    ) -> None:  # fmt: skip
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(max(at - self._loop.time(), 0.0))
            await self._open.wait()
            if link.stranded:
                continue
            if not data:
                with suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


class _Link:
    """One connection over it."""

    def __init__(self, writer: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        self.writers, self.task = [writer], task
        self.stranded = False

    def reset(self) -> None:
        """End it at both sides."""
        for writer in self.writers:
            writer.transport.abort()
        if self.task is not asyncio.current_task():
            self.task.cancel()
