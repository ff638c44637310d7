"""How APIs stand in Redis: what the scripts beside this file keep, read and not changed.

The formats of the hashes are told at the head of `api_health.lua`, `lease.lua` and `reserve.lua`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.core.health import WINDOW_SECONDS, BreakerState, risen
from orchestrator.errors import Unavailable
from orchestrator.ports.gate_view import ApiState

_SECOND = 1_000_000

Hash: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RedisGateView:
    """Implements GateView: one round trip, whatever the number of APIs."""

    redis: Redis
    prefix: str = "orchestrator:gate"
    where: str = "the gate's address"  # for errors, without secrets

    async def states(self, apis: Collection[str]) -> Mapping[str, ApiState]:
        """See GateView."""
        names = list(apis)
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for name in names:
                for part in ("health", "holders", "queue"):
                    pipe.hgetall(f"{self.prefix}:{name}:{part}")
            try:
                (seconds, micro), *found = await pipe.execute()
            except (RedisError, OSError) as error:
                why = f"{type(error).__name__}: {error}"[:300]
                raise Unavailable("gate store", self.where, why) from error
        now = int(seconds) * _SECOND + int(micro)
        books = iter(found)
        return {
            name: _state(health, holders, queue, now)
            for name, health, holders, queue in zip(names, books, books, books, strict=True)
        }


def _state(health: Hash, holders: Hash, queue: Hash, now: int) -> ApiState:
    return ApiState(
        **_health(health, now), **_slots(holders, now),
        waiting=sum(_alive(queue, now, column=0, expires=1)),
    )  # fmt: skip


def _health(book: Hash, now: int) -> dict[str, Any]:
    """What has passed since somebody reported last is taken into account, as the script would."""
    state = BreakerState(book.get("state", BreakerState.CLOSED))
    until, pace_at = float(book.get("until", 0)), float(book.get("pace_at", 0))
    if state is BreakerState.OPEN and until <= now:
        state = BreakerState.HALF_OPEN
    counted = [
        tuple(map(int, value.split()))
        for name, value in book.items()
        if name.startswith("s:") and _recent(int(name[2:]), now)
    ]
    calls, failures, slow = (sum(each[column] for each in counted) for column in range(3))
    return {
        "breaker": state,
        "tried_in_seconds": (until - now) / _SECOND if state is BreakerState.OPEN else 0.0,
        "paused_seconds": max(float(book.get("paused", 0)) - now, 0) / _SECOND,
        "pace": risen(float(book.get("pace", 1)), max(now - pace_at, 0) / _SECOND),
        "calls": calls, "failures": failures, "slow": slow,
    }  # fmt: skip


def _recent(second: int, now: int) -> bool:
    return now // _SECOND - WINDOW_SECONDS < second <= now // _SECOND


def _slots(holders: Hash, now: int) -> dict[str, Any]:
    limits = [limit for limit in _alive(holders, now, column=3, expires=2) if limit]
    return {
        "slots_limit": min(limits, default=None),
        "slots_lent": sum(_alive(holders, now, column=0, expires=2)),
        "slots_wanted": sum(_alive(holders, now, column=1, expires=2)),
    }


def _alive(book: Hash, now: int, *, column: int, expires: int) -> list[int]:
    """A column of what processes have said, without those that have not been heard of since."""
    rows = [value.split() for value in book.values()]
    return [int(float(row[column])) for row in rows if float(row[expires]) > now]
