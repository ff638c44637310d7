"""Turns at writing to SQLite, among the writers of this process and those of others.

SQLite's own wait for its lock is a poll that slows down to every 100 ms, so that with a few busy
processes some wait a hundred times as long as others. Here everybody asks for a lock file every
millisecond or two, which costs a system call; the kernel frees it when its holder dies.

Whoever gives its turn back and has more to write would take it again before any other could ask.
So there is a second file for the place at the head of the line: one has to stand there before one
gets the turn, and who has waited there gets it next.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.errors import Unavailable

_LEAST_SECONDS, _MOST_SECONDS = 0.0005, 0.002


class Turns:
    """The files `<database>.writing` and `.writing-next`, behind a queue of this process."""

    def __init__(self, database: Path) -> None:
        self._turn = _LockFile(Path(f"{database}.writing"))
        self._head = _LockFile(Path(f"{database}.writing-next"))
        self._queue = asyncio.Lock()

    @asynccontextmanager
    async def mine(self, *, within_seconds: float) -> AsyncIterator[None]:
        """Hold the turn. Raises Unavailable when it does not come in time."""
        async with self._queue:
            until = time.monotonic() + within_seconds
            async with self._head.held(until):
                await self._turn.take(until)
            try:
                yield
            finally:
                self._turn.free()

    def close(self) -> None:
        """Close the files; they stay, since others use them."""
        self._turn.close()
        self._head.close()


class _LockFile:
    """A lock that the kernel frees when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @asynccontextmanager
    async def held(self, until: float) -> AsyncIterator[None]:
        await self.take(until)
        try:
            yield
        finally:
            self.free()

    async def take(self, until: float) -> None:
        handle = self._open()
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    why = "database is locked by another process"
                    raise Unavailable("database", str(self._path), why) from None
            await asyncio.sleep(random.uniform(_LEAST_SECONDS, _MOST_SECONDS))  # noqa: S311

    def free(self) -> None:
        fcntl.flock(self._open(), fcntl.LOCK_UN)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        if self._handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._handle = os.open(self._path, flags, 0o600)
        return self._handle
