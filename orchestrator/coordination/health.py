"""Facts about a Redis or Valkey server, for `doctor`."""

from __future__ import annotations

import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import Unavailable
from orchestrator.ports import BrokerFacts


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
