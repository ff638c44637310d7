"""SharedLimits under a clock that the test moves: the scripts on a real server, and in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redis.asyncio import Redis

from orchestrator.engine.rates import parse_rates, spacing_seconds
from orchestrator.ports import Mark, RatedPart, Reservation, SharedLimits, TenantWaiting
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from tests.integration.gate.virtual_time import VirtualLimits, set_clock

SECOND = 1_000_000
BEGIN = 1_000 * SECOND
RATE = "10/second"


class Server(Protocol):
    """What all processes share; all times are whole microseconds."""

    async def at(self, now: int) -> None:
        """Move the clock."""

    async def flush(self) -> None:
        """Forget everything."""

    def process(self, name: str) -> SharedLimits:
        """One process's way to it."""

    def starts(self, reservation: Reservation) -> list[int]:
        """Start times on the server's clock."""


class TimedValkey:
    """A real server whose clock a test sets."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def at(self, now: int) -> None:
        """The time that its scripts see from now on, in microseconds."""
        self._now = now
        await set_clock(self._client, now)

    async def flush(self) -> None:
        """Forget everything but the time."""
        await self._client.flushdb()
        await self.at(self._now)


class ValkeyServer(TimedValkey):
    """Start times of its processes are raw, see VirtualLimits."""

    def process(self, name: str) -> SharedLimits:
        return VirtualLimits(self._client, holder_id=name)

    def starts(self, reservation: Reservation) -> list[int]:
        return [int(start) for start in reservation.starts]


class MemoryServer:
    """The processes' clocks are the server's."""

    def __init__(self) -> None:
        self._now = 0
        self._server = LimitServer(self._seconds)

    def _seconds(self) -> float:
        return self._now / SECOND

    async def at(self, now: int) -> None:
        self._now = now

    async def flush(self) -> None:
        self._server.flush()

    def process(self, name: str) -> SharedLimits:
        return MemoryLimits(self._server, holder_id=name, monotonic=self._seconds)

    def starts(self, reservation: Reservation) -> list[int]:
        return [round(start * SECOND) for start in reservation.starts]


async def reserve(
    process: SharedLimits, *, count: int = 20, rate: str | None = RATE, headroom: float = 0.04,
    unused: Sequence[Mark] = (), closest: float = 1.0,
    parts: Sequence[tuple[str, str]] = (), wanted: Sequence[Sequence[int]] | None = None,
    crowd: Sequence[TenantWaiting] = (),
) -> Reservation:  # fmt: skip
    """As the gate asks; `parts` by key and rate."""
    rates = parse_rates(rate)
    spacing = spacing_seconds(rates, headroom)
    rated = [(key, parse_rates(of_part)) for key, of_part in parts]
    return await process.reserve(
        "api", rates=rates, count=count, waiting=count, headroom_seconds=headroom,
        spacing_seconds=spacing, closest_seconds=spacing * closest, unused=unused, wanted=wanted,
        crowd=crowd, parts=[
            RatedPart(key=key, rates=each, spacing_seconds=spacing_seconds(each, headroom))
            for key, each in rated
        ],
    )  # fmt: skip
