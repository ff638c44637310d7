"""Turns at writing to SQLite, among the writers of this process and those of others.

SQLite's own wait for its lock is a poll that slows down to every 100 ms, so that with a few busy
processes some wait a hundred times as long as others. Here everybody asks for a lock file every
millisecond or two, which costs a system call; the kernel frees it when its holder dies.

Whoever gives its turn back and has more to write would take it again before any other could ask.
So there is a second file for the place at the head of the line: one has to stand there before one
gets the turn, and who has waited there gets it next.

Turns are manners; safety is SQLite's own lock. A process that was stopped (SIGSTOP) in the line, or
between its turn and its transaction, must not keep all others from writing. So who has waited for
long goes ahead without a turn, waits for SQLite's lock as anybody would, and does not stand in the
line again for a while.
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

PATIENCE_SECONDS = 1.0
STUCK_SECONDS = 5.0
"""For so long a line that did not move is not waited in."""
_LEAST_SECONDS, _MOST_SECONDS = 0.0005, 0.002


class Turns:
    """The files `<database>.writing` and `.writing-next`, behind a queue of this process."""

    def __init__(self, database: Path) -> None:
        self._turn = _LockFile(Path(f"{database}.writing"))
        self._head = _LockFile(Path(f"{database}.writing-next"))
        self._queue = asyncio.Lock()
        self._stuck_until = 0.0  # time.monotonic()

    @asynccontextmanager
    async def mine(self, *, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[bool]:
        """Hold the turn; False when it has not come in time and one goes ahead without it."""
        async with self._queue:
            came = await self._take(patience_seconds)
            try:
                yield came
            finally:
                if came:
                    self._turn.free()

    async def _take(self, patience_seconds: float) -> bool:
        now = time.monotonic()
        until = now if now < self._stuck_until else now + patience_seconds
        came = False
        if await self._head.taken(until):
            try:
                came = await self._turn.taken(until)
            finally:
                self._head.free()
        if not came and until > now:
            self._stuck_until = until + STUCK_SECONDS
        return came

    def close(self) -> None:
        """Close the files; they stay, since others use them."""
        self._turn.close()
        self._head.close()


class _LockFile:
    """A lock that the kernel frees when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    async def taken(self, until: float) -> bool:
        """Take it, by this time of the monotonic clock at the latest."""
        handle = self._open()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
            await asyncio.sleep(random.uniform(_LEAST_SECONDS, _MOST_SECONDS))  # noqa: S311 - no secret

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
