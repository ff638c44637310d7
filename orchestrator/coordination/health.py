"""Facts about a Redis or Valkey server, for `doctor` and for workers that start."""

from __future__ import annotations

import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import InvalidSetting, Problem, Unavailable
from orchestrator.ports import BrokerFacts, BrokerInspector

log = structlog.get_logger(__name__)


class RedisInspector:
    """Implements BrokerInspector. `where` is the address without secrets."""

    def __init__(self, redis: Redis, where: str) -> None:
        self._redis, self._where = redis, where

    async def facts(self) -> BrokerFacts:
        """Ask the server. Raises Unavailable."""
        try:
            round_trip = await self._round_trip()
            info = await self._redis.info()
        except (RedisError, OSError) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable("broker", self._where, why) from error
        server = str(info.get("server_name", "redis"))
        number = info.get("valkey_version") or info.get("redis_version", "of unknown version")
        return BrokerFacts(
            address=self._where,
            version=f"{server} {number}",
            maxmemory_policy=str(info.get("maxmemory_policy", "")),
            maxmemory=int(info.get("maxmemory", 0)),
            used_memory=int(info.get("used_memory", 0)),
            append_only=bool(int(info.get("aof_enabled", 0))),
            clients=int(info.get("connected_clients", 0)),
            max_clients=int(info.get("maxclients", 10_000)),  # the default, before Redis 5.0.5
            round_trip_seconds=round_trip,
        )

    async def _round_trip(self) -> float:
        """The median of five, after one that connects."""
        await self._redis.ping()
        taken = []
        for _ in range(5):
            begun = time.monotonic()
            await self._redis.ping()
            taken.append(time.monotonic() - begun)
        return sorted(taken)[2]


async def refuse_eviction(inspector: BrokerInspector, *, setting: str) -> None:
    """Raises InvalidSetting where a full server would throw queues, or limits, away.

    One that is away, or does not say, is not refused: a worker may start before it.
    """
    try:
        facts = await inspector.facts()
    except Unavailable as error:
        log.warning("eviction.unknown", why=str(error))
        return
    if facts.maxmemory_policy.startswith("allkeys-"):
        problem = Problem(
            place=f"setting {setting}, the server at {facts.address}",
            found=f"maxmemory-policy {facts.maxmemory_policy}",
            wanted="noeviction: any other throws away what is not its own to throw",
        )
        raise InvalidSetting("Redis may evict queues and limits", problems=[problem])
    if facts.maxmemory_policy not in ("", "noeviction"):
        log.error("eviction.possible", policy=facts.maxmemory_policy, setting=setting)
