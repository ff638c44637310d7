"""The smaller parts of a worker process: its way to the locks, and what nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, Lease, Rate, Reservation, StepEnd, WorkerLocks
from tests.faults.simulation.loop import VirtualLoop
from tests.faults.simulation.weather import Weather, store_away


class LockLink:
    """Implements WorkerLocks: held in the database, so away when that is."""

    def __init__(self, locks: WorkerLocks, weather: Weather, loop: VirtualLoop) -> None:
        self._locks, self._weather, self._loop = locks, weather, loop

    async def hold(self, worker_id: str) -> None:
        """See WorkerLocks."""
        await self._arrive()
        await self._locks.hold(worker_id)

    async def release(self) -> None:
        """See WorkerLocks."""
        await self._locks.release()

    async def free_among(self, worker_ids: Sequence[str]) -> list[str]:
        """See WorkerLocks."""
        await self._arrive()
        return await self._locks.free_among(worker_ids)

    async def _arrive(self) -> None:
        if self._weather.store_away_until > self._loop.time():
            await asyncio.sleep(0.3)
            raise store_away("connection refused")


class NoLimits:
    """Implements SharedLimits for APIs without limits: nobody may ask."""

    async def lease(self, api: str, *, limit: int, wanted: int, held: int) -> Lease:
        """Never."""
        raise Unavailable("limits", "the simulation", "there are none")

    async def reserve(
        self, api: str, *, rates: Sequence[Rate], count: int, waiting: int,
        headroom_seconds: float, spacing_seconds: float,
    ) -> Reservation:  # fmt: skip
        """Never."""
        raise Unavailable("limits", "the simulation", "there are none")

    async def leave(self, api: str) -> None:
        """Nothing."""


class NoEvents:
    """Implements StepEvents: nobody watches."""

    def step_started(self, hint: Hint, *, by_message: bool = False) -> None:
        """Nothing."""

    def step_revived(self, hint: Hint) -> None:
        """Nothing."""

    def step_ended(self, hint: Hint, end: StepEnd, *, seconds: float, detail: str = "") -> None:
        """Nothing."""

    def step_left(self, hint: Hint) -> None:
        """Nothing."""
