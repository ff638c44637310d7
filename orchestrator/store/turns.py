"""Turns at writing to SQLite, among the writers of this process and those of others.

SQLite's own wait for its lock is a poll that slows down to every 100 ms, so that with a few busy
processes some wait a hundred times as long as others. Here everybody asks for a lock file every
millisecond or two, which costs a system call; the kernel frees it when its holder dies.
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
    """The file `<database>.writing`, and a queue of this process in front of it."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}.writing")
        self._queue = asyncio.Lock()
        self._handle: int | None = None

    @asynccontextmanager
    async def mine(self, *, within_seconds: float) -> AsyncIterator[None]:
        """Hold the turn. Raises Unavailable when it does not come in time."""
        async with self._queue:
            await self._lock(time.monotonic() + within_seconds)
            try:
                yield
            finally:
                fcntl.flock(self._open(), fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; it stays, since others use it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    async def _lock(self, until: float) -> None:
        handle = self._open()
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    why = "database is locked by another process"
                    raise Unavailable("database", str(self._path), why) from None
            await asyncio.sleep(random.uniform(_LEAST_SECONDS, _MOST_SECONDS))  # noqa: S311

    def _open(self) -> int:
        if self._handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._handle = os.open(self._path, flags, 0o600)
        return self._handle
