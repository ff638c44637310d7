"""How far the database had come, as the gate's Redis remembers it: see ports.HighWaterMark."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeAlias, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.errors import Unavailable
from orchestrator.ports.restoring import HighWater

KEY = "orchestrator:gate::high-water"
"""Among the gate's keys, which workers may change and faces read; no API has an empty name."""
_RUN, _CHECKPOINT = "newest_run", "checkpoint"
# Each field for itself; ids compare byte by byte, as the database compares them.
_RAISE = """
if ARGV[1] > (redis.call('HGET', KEYS[1], 'newest_run') or '') then
  redis.call('HSET', KEYS[1], 'newest_run', ARGV[1])
end
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[1], 'checkpoint') or '0') then
  redis.call('HSET', KEYS[1], 'checkpoint', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'newest_run', 'checkpoint')
"""
Fields: TypeAlias = "list[bytes | str | None]"


class RedisHighWaterMark:
    """Implements ports.HighWaterMark. Who empties this Redis makes it forget."""

    def __init__(self, redis: Redis, *, where: str) -> None:
        self._redis, self._where = redis, where

    async def read(self) -> HighWater:
        """What is remembered; of nothing the least. Raises Unavailable."""
        return _high_water(await self._asked(self._redis.hmget(KEY, [_RUN, _CHECKPOINT])))

    async def raise_to(self, reached: HighWater) -> HighWater:
        """Remember the higher of both; the answer. Raises Unavailable."""
        arguments = (reached.newest_run, str(reached.checkpoint))
        return _high_water(await self._asked(self._redis.eval(_RAISE, 1, KEY, *arguments)))

    async def set_to(self, reached: HighWater) -> None:
        """Remember this, although it may be lower. Raises Unavailable."""
        fields = [_RUN, reached.newest_run, _CHECKPOINT, str(reached.checkpoint)]
        await self._asked(self._redis.hset(KEY, items=fields))

    async def _asked(self, answer: Any) -> Any:
        try:
            # Its types say that it may also answer at once, which a client of asyncio never does.
            return await cast("Awaitable[Any]", answer)
        except (RedisError, OSError) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable("gate store", self._where, why) from error


def _high_water(fields: Fields) -> HighWater:
    run, checkpoint = (each.decode() if isinstance(each, bytes) else each for each in fields)
    return HighWater(newest_run=run or "", checkpoint=int(checkpoint or 0))
