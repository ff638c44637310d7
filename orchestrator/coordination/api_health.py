"""How APIs stand, as all processes see them: the book of `core/health.py` in Redis."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from orchestrator.core.health import BreakerState, Health, HealthRules, News, us
from orchestrator.errors import Unavailable


@dataclass(slots=True)
class RedisHealth:
    """Implements SharedHealth. One for each process, used by one event loop.

    One hash for each API. It is forgotten when nobody has reported for longer than a pause or an
    open breaker can last.
    """

    redis: Redis
    holder_id: str
    prefix: str = "orchestrator:gate"
    where: str = "the gate's address"  # for errors, without secrets
    _script: AsyncScript = field(init=False)

    def __post_init__(self) -> None:
        self._script = self.redis.register_script(script())

    async def report(self, api: str, rules: HealthRules, news: News) -> Health:
        """See SharedHealth."""
        args: list[str | float] = [
            self.holder_id, secrets.token_hex(8),
            rules.failure_rate, rules.slow_rate, rules.calls, us(rules.open_seconds),
            us(rules.longest_open_seconds), rules.probes, us(rules.longest_pause_seconds),
            news.episode, news.number, news.calls, news.failures, news.slow, news.retries,
            int(news.throttled), us(news.pause_seconds), news.probes_held, news.probes_wanted,
            news.probes_good, news.probes_bad,
        ]  # fmt: skip
        try:
            answer = await self._script(keys=[f"{self.prefix}:{api}:health"], args=args)
        except (RedisError, OSError) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable("gate store", self.where, why) from error
        return Health(
            state=BreakerState(answer[0]), episode=int(answer[1]),
            open_seconds=int(answer[2]) / 1e6, pause_seconds=int(answer[3]) / 1e6,
            probes=int(answer[4]), pace=float(answer[5]), cuts=int(answer[6]),
            closed_for_seconds=int(answer[7]) / 1e6, calls=int(answer[8]), retries=int(answer[9]),
            generation=str(answer[10]),
        )  # fmt: skip


def script() -> str:
    """The Lua beside this file."""
    return (files("orchestrator.coordination") / "api_health.lua").read_text("utf-8")
