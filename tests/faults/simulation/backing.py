"""The database of a simulation: in memory, or the real SQL store on a file of SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

from orchestrator.core.states import RunStatus
from orchestrator.ports import Store, WorkerLocks
from orchestrator.testing.ids import moment
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.store import MemoryStore, Moment
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.faults.simulation.weather import Weather, store_away

AWAY_SECONDS = 0.3  # until a client notices that nobody answers


class Lock(WorkerLocks, Protocol):
    """A worker's lock, and what the kernel does with it."""

    def die(self) -> None:
        """Its process has ended."""


class Backing(Protocol):
    """One database."""

    def view(self, weather: Weather | None = None, loop: VirtualLoop | None = None) -> Store:
        """One process's way to it; without weather it is always well and takes no time."""

    def lock(self) -> Lock:
        """The lock of one process."""

    def unsettled(self) -> int:
        """Runs that a worker still has something to do for."""

    def escalated(self) -> int:
        """Runs that wait for a person."""

    def close(self) -> None:
        """The end of the simulation."""


class Line:
    """The way to a store and back through the weather. Called by the store at each transaction."""

    def __init__(self, weather: Weather, loop: VirtualLoop) -> None:
        self._weather, self._loop = weather, loop

    def __call__(self, moment: Moment, call: str) -> Awaitable[None] | None:
        """See `orchestrator.testing.memory.store.Line`."""
        return self._there() if moment == "before" else self.back(lost=self.loses_answer())

    async def _there(self) -> None:
        weather = self._weather
        if weather.store_away_until > self._loop.time():
            await asyncio.sleep(AWAY_SECONDS)
            raise store_away("connection refused")
        await asyncio.sleep(weather.store_latency())
        if weather.happens(weather.rates.request_lost):
            raise store_away("the connection was lost before the commit")

    def loses_answer(self) -> bool:
        """Whether what is written now will stay, and its writer not hear of it."""
        return self._weather.happens(self._weather.rates.answer_lost)

    async def back(self, *, lost: bool) -> None:
        """The way back. Raises Unavailable when the answer is lost."""
        weather = self._weather
        if lost:
            await asyncio.sleep(AWAY_SECONDS)
            raise store_away("the connection was lost after the commit")
        if weather.storming:
            await asyncio.sleep(weather.store_latency())


class MemoryBacking:
    """Implements Backing in memory."""

    def __init__(self, loop: VirtualLoop) -> None:
        def clock() -> datetime:
            return moment(loop.time())

        self.database = MemoryDatabase(clock)

    def view(self, weather: Weather | None = None, loop: VirtualLoop | None = None) -> MemoryStore:
        """See Backing."""
        if weather is None or loop is None:
            return MemoryStore(self.database)
        return MemoryStore(self.database, line=Line(weather, loop))

    def lock(self) -> MemoryLocks:
        """See Backing."""
        return MemoryLocks(self.database)

    def unsettled(self) -> int:
        """See Backing."""
        return self.database.unsettled

    def escalated(self) -> int:
        """See Backing."""
        return self.database.statuses[RunStatus.ESCALATED]

    def close(self) -> None:
        """See Backing."""
