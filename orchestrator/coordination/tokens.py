"""Tokens of APIs in Redis, the same for all workers: one fetches, the others use what it got.

**What is kept.** A hash for each credential: the sealed token (this module cannot read it), its
version, when it expires by the server's clock, and whether an API has refused it. Beside it a lock
with an owner and an expiry, while somebody fetches.

**Single flight.** `token_take.lua` answers in one step whether there is a token that the caller
does not know yet, or whose turn it is: the first one gets the lock, the others wait. A holder that
dies leaves a lock that expires; one that comes too late finds that its token is not wanted any
more (`token_put.lua`).

**Lost memory.** After a wipe the first who needs a token fetches one; who has one goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from orchestrator.errors import Unavailable
from orchestrator.ports import SharedToken, Turn

MOST_AT_ONCE = 8
"""Calls of one process. The tokens of many tenants may be due together, and the gate's own calls
must not find all connections taken."""


@dataclass(slots=True)
class RedisTokens:
    """Implements SharedTokens. One for each process, used by one event loop."""

    redis: Redis
    prefix: str = "orchestrator:token"
    where: str = "the gate's address"  # for errors, without secrets
    _few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    _take: AsyncScript = field(init=False)
    _put: AsyncScript = field(init=False)
    _release: AsyncScript = field(init=False)

    def __post_init__(self) -> None:
        self._take = self.redis.register_script(_lua("token_take"))
        self._put = self.redis.register_script(_lua("token_put"))
        self._release = self.redis.register_script(_lua("token_release"))

    async def take(
        self, name: str, *, owner: str, known: str, refused: bool, lock_seconds: float
    ) -> SharedToken:
        """See SharedTokens."""
        args = [owner, known, "1" if refused else "0", round(lock_seconds * 1000)]
        turn, version, sealed, left = await self._call(self._take, self._keys(name), args)
        return SharedToken(
            turn=Turn(turn), version=version, sealed=sealed, valid_seconds=int(left) / 1e6
        )

    async def put(
        self, name: str, *, owner: str, base: str, version: str, sealed: str,
        valid_seconds: float, keep_seconds: float,
    ) -> bool:  # fmt: skip
        """See SharedTokens."""
        args: list[str | int] = [
            owner, base, version, sealed, round(valid_seconds * 1e6), round(keep_seconds * 1000),
        ]  # fmt: skip
        return bool(await self._call(self._put, self._keys(name), args))

    async def release(self, name: str, *, owner: str) -> None:
        """See SharedTokens."""
        await self._call(self._release, self._keys(name)[1:], [owner])

    def _keys(self, name: str) -> list[str]:
        return [f"{self.prefix}:{name}", f"{self.prefix}:{name}:lock"]

    async def _call(self, script: AsyncScript, keys: list[str], args: Sequence[str | int]) -> Any:
        try:
            async with self._few:
                return await script(keys=keys, args=args)
        except (RedisError, OSError) as error:
            # Never with the command: it holds the sealed token.
            why = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable("token store", self.where, why) from error


def _lua(name: str) -> str:
    return (files("orchestrator.coordination") / f"{name}.lua").read_text("utf-8")
