"""Wakes runs whose time has come: soon after it, and all at once where many come together.

The table has the times. Each worker looks when the next of them comes, and takes all that are due
by one indexed statement, which skips what another worker takes; hence each is woken once. What it
puts to sleep itself moves its next look (`note`), and so does what surveys find of the others
(`heed`). What these put to sleep for less than the time between two surveys is found by them, or
with the next survey.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from math import inf
from typing import Protocol

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports import WorkerStore
from orchestrator.ports.metering import UNMETERED, Meter
from orchestrator.ports.surveys import Survey
from orchestrator.service.redelivery import Redeliverer

log = structlog.get_logger(__name__)

LARGEST_PASS = 500
SHORTEST_PAUSE_SECONDS = 0.1
"""Between two looks: what comes due meanwhile is one batch. So much later it wakes at the most."""
STAGGER = 0.2
"""Each pause is shorter or longer by up to this part, or all workers would look at once."""


class DueRuns:
    """Waiting and parked runs whose time has come."""

    def __init__(
        self, store: WorkerStore, redeliverer: Redeliverer, *, meter: Meter = UNMETERED
    ) -> None:
        self._store, self._redeliverer, self._meter = store, redeliverer, meter

    async def publish(self) -> None:
        """Wake all that are due now. Raises Unavailable."""
        while True:
            due = await self._store.take_due(limit=LARGEST_PASS)
            await self._redeliverer.publish(due)
            self._meter.recovered("due", len(due))
            if len(due) < LARGEST_PASS:
                return

    async def due_in(self) -> float:
        """Seconds until the next is due; 0 or less: some are. Raises Unavailable."""
        found = await self._store.due_in_seconds()
        return inf if found is None else found


class Due(Protocol):
    """Those whose time has come."""

    async def publish(self) -> None:
        """Wake all that are due now. Raises Unavailable."""

    async def due_in(self) -> float:
        """Seconds until the next is due; 0 or less: some are. Raises Unavailable."""


class AlarmClock:
    """Looks whenever a run is due, and `look_every` seconds after it has heard anything of it."""

    def __init__(
        self,
        due: Due,
        *,
        look_every: float,
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`now`: the database's time as far as this process knows it."""
        self._due, self._look_every, self._now, self._jitter = due, look_every, now, jitter
        self._noted_at = inf  # on the loop's clock: of what was put to sleep since the last look
        self._look_at = inf
        self._moved = asyncio.Event()

    def note(self, at: datetime) -> None:
        """A run was put to sleep until then. On the loop of `run_passes`."""
        noted_at = asyncio.get_running_loop().time() + (at - self._now()).total_seconds()
        self._noted_at = min(self._noted_at, noted_at)
        if noted_at < self._look_at:
            self._look_at = noted_at
            self._moved.set()

    def heed(self, survey: Survey) -> None:
        """When the next of all was due a moment ago. On the loop of `run_passes`."""
        self._expect(inf if survey.due_in_seconds is None else survey.due_in_seconds)
        self._moved.set()

    async def run_passes(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._wait(await self._look())
            except Unavailable as error:
                log.warning("alarm.postponed", why=str(error))
                await asyncio.sleep(self._look_every)
            except Exception:
                # What is due is found by the recovery's pass as well, and by the next look.
                log.exception("alarm.failed")
                await asyncio.sleep(self._look_every)

    async def _look(self) -> float:
        """Wake what is due; seconds until the next look."""
        self._noted_at = inf
        seconds = await self._due.due_in()
        if seconds <= 0:
            await self._due.publish()
            return 0.0
        return seconds

    def _expect(self, seconds: float) -> None:
        """The next look is then, or when something is due that was noted meanwhile."""
        stagger = STAGGER * (2 * self._jitter() - 1)
        latest = min(seconds, self._look_every * (1 + stagger))
        self._look_at = min(asyncio.get_running_loop().time() + latest, self._noted_at)

    async def _wait(self, seconds: float) -> None:
        """Until then, or an earlier time that was noted meanwhile."""
        self._expect(seconds)
        await asyncio.sleep(SHORTEST_PAUSE_SECONDS * (1 + STAGGER * (2 * self._jitter() - 1)))
        time = asyncio.get_running_loop().time
        while (left := self._look_at - time()) > 0:
            self._moved.clear()
            try:
                async with asyncio.timeout(left):
                    await self._moved.wait()
            except TimeoutError:
                continue
