"""The smaller parts of a worker process: its ways to locks and limits, and what nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.core.health import Health, HealthRules, News
from orchestrator.ports import (
    Lease,
    Rate,
    RatedPart,
    Reservation,
    SharedHealth,
    SharedLimits,
    TenantWaiting,
    WorkerLocks,
)
from orchestrator.testing.loop import VirtualLoop
from tests.faults.simulation.broker import BrokerLink
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


class LimitLink:
    """Implements SharedLimits: kept beside the broker, so away when that is."""

    def __init__(self, limits: SharedLimits, broker: BrokerLink) -> None:
        self._limits, self._broker = limits, broker

    async def lease(
        self, api: str, *, limit: int, wanted: int, held: int, scope: str = ""
    ) -> Lease:
        """See SharedLimits."""
        await self._broker.arrive()
        return await self._limits.lease(api, limit=limit, wanted=wanted, held=held, scope=scope)

    async def reserve(
        self, api: str, *, rates: Sequence[Rate], count: int, waiting: int,
        headroom_seconds: float, spacing_seconds: float, closest_seconds: float,
        crowd: Sequence[TenantWaiting] = (), unused: Sequence[int] = (),
        parts: Sequence[RatedPart] = (), wanted: Sequence[Sequence[int]] | None = None,
    ) -> Reservation:  # fmt: skip
        """See SharedLimits."""
        await self._broker.arrive()
        return await self._limits.reserve(
            api, rates=rates, count=count, waiting=waiting, headroom_seconds=headroom_seconds,
            spacing_seconds=spacing_seconds, closest_seconds=closest_seconds, crowd=crowd,
            unused=unused, parts=parts, wanted=wanted,
        )  # fmt: skip

    async def leave(
        self, api: str, *, in_use: int = 0, scope: str = "", seconds: float = 0.0
    ) -> None:
        """See SharedLimits."""
        await self._broker.arrive()
        await self._limits.leave(api, in_use=in_use, scope=scope, seconds=seconds)


class HealthLink:
    """Implements SharedHealth: kept beside the broker, so away when that is."""

    def __init__(self, health: SharedHealth, broker: BrokerLink) -> None:
        self._health, self._broker = health, broker

    async def report(self, api: str, rules: HealthRules, news: News) -> Health:
        """See SharedHealth."""
        await self._broker.arrive()
        return await self._health.report(api, rules, news)
