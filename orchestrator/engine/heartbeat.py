"""A worker process's sign of life, on a thread of its own.

The thread beats although the engine's loop is busy for a while, and stops when the loop has not
moved for `stuck_after_seconds`, so that a process which is stuck for good loses its runs to others
although it is not dead; after as long again it ends the process, which is of no use any more. It
has its own database connection: a pool that the engine has exhausted must not make it look dead.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.errors import Unavailable

log = structlog.get_logger(__name__)


class LoopPulse:
    """Tells from outside how long an event loop has not moved."""

    def __init__(self) -> None:
        self._moved_at = time.monotonic()

    async def run(self, every_seconds: float = 0.5) -> None:
        """Move, for as long as the loop lets it."""
        while True:
            self._moved_at = time.monotonic()
            await asyncio.sleep(every_seconds)

    @property
    def still_seconds(self) -> float:
        """Seconds since the loop last moved."""
        return time.monotonic() - self._moved_at


class Lifeline:
    """How long ago the database last heard of this process.

    Others take its runs over only some time after that; until well before, they are its own.
    """

    def __init__(
        self, *, trusted_seconds: float = 4.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._trusted, self._monotonic = trusted_seconds, monotonic
        self._heard_at = monotonic()

    def heard(self, sent_at: float) -> None:
        """The database has answered what was sent at that time (of the same clock)."""
        self._heard_at = max(self._heard_at, sent_at)

    @property
    def doubtful(self) -> bool:
        """Whether others may have taken our runs over by now."""
        return self._monotonic() - self._heard_at > self._trusted


class Heartbeat:
    """Beats every `every_seconds` until stopped; calls `on_lost` once when declared dead, and
    `on_stuck` when the loop has not moved for `stuck_after_seconds` more."""

    def __init__(
        self,
        beat: Callable[[], Awaitable[bool]],
        close: Callable[[], Awaitable[None]],
        *,
        pulse: LoopPulse,
        every_seconds: float,
        stuck_after_seconds: float,
        on_lost: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        self._beat, self._close = beat, close
        self._pulse = pulse
        self._every, self._stuck_after = every_seconds, stuck_after_seconds
        self._on_lost, self._on_stuck = on_lost, on_stuck
        self._withheld = 0  # beats in a row
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin on its own thread."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_seconds)

    def _main(self) -> None:
        asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        try:
            while not self._stop.is_set():
                await self._beat_once()
                # A thread's wait, not a sleep of the loop: `stop` must end it at once.
                self._stop.wait(self._every)
        finally:
            await self._close()

    async def _beat_once(self) -> None:
        if self._pulse.still_seconds > self._stuck_after:
            log.error("heartbeat.withheld", still_seconds=round(self._pulse.still_seconds, 1))
            self._withheld += 1
            # Counted, since a process that was stopped finds its loop still when it goes on.
            if self._withheld * self._every > self._stuck_after:
                self._on_stuck()
            return
        self._withheld = 0
        try:
            alive = await self._beat()
        except Unavailable as error:
            log.warning("heartbeat.missed", why=str(error))
            return
        if not alive:
            log.error("worker.declared_dead")
            self._on_lost()
