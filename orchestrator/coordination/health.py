"""Facts about a Redis or Valkey server, for `doctor`."""

from __future__ import annotations

import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.coordination.connect import connect, without_secrets
from orchestrator.errors import Unavailable
from orchestrator.ports import BrokerFacts


class RedisInspector:
    """Implements BrokerInspector for one server."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def facts(self) -> BrokerFacts:
        """Ask the server over a connection of its own. Raises Unavailable."""
        redis = connect(self._url)
        try:
            return await _facts(redis, without_secrets(self._url))
        except (RedisError, OSError) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable("broker", without_secrets(self._url), why) from error
        finally:
            await redis.aclose()


async def _facts(redis: Redis, address: str) -> BrokerFacts:
    round_trip = await _round_trip(redis)
    info = await redis.info()
    name = "Valkey" if "valkey_version" in info else "Redis"
    return BrokerFacts(
        address=address,
        version=f"{name} {info.get('valkey_version') or info.get('redis_version', '')}",
        maxmemory_policy=str(info.get("maxmemory_policy", "")),
        maxmemory=int(info.get("maxmemory", 0)),
        used_memory=int(info.get("used_memory", 0)),
        append_only=bool(int(info.get("aof_enabled", 0))),
        round_trip_seconds=round_trip,
    )


async def _round_trip(redis: Redis) -> float:
    """Seconds, the median of five."""
    await redis.ping()  # connects
    taken = []
    for _ in range(5):
        begun = time.monotonic()
        await redis.ping()
        taken.append(time.monotonic() - begun)
    return sorted(taken)[2]
