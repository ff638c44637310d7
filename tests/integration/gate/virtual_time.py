"""The scripts on a real server, but with a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from orchestrator.coordination import api_health, limits
from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.clock import ServerClock
from orchestrator.coordination.limits import RedisLimits

CLOCK = "test:clock"  # microseconds
_READ = f"local time = tonumber(redis.call('GET', '{CLOCK}'))\n  return time\n"


def scripted(name: str) -> str:
    """A script whose `microseconds()` answers the test's clock."""
    return with_clock_of_test(limits._lua(name))


def with_clock_of_test(text: str) -> str:
    """The same for a script's text."""
    begin = text.index("  local time = redis.call('TIME')")
    end = text.index("end", begin)
    return text[:begin] + _READ + text[end:]


def _keeping(kept: int, script: str) -> str:
    """With a shorter memory."""
    assert "KEPT = 10000 " in script
    return script.replace("KEPT = 10000 ", f"KEPT = {kept} ")


class _AnyClock(ServerClock):
    """The test's clock jumps as it likes."""

    def observe(self, **_: float) -> bool:
        return False


@dataclass(slots=True)
class VirtualLimits(RedisLimits):
    """One process as the server sees it, in the test's time; answers are raw, in microseconds."""

    kept: int = 10_000  # moments

    def __post_init__(self) -> None:
        self._clock = _AnyClock()
        self._lease = self.redis.register_script(scripted("lease"))
        self._reserve = self.redis.register_script(_keeping(self.kept, scripted("reserve")))

    def _monotonic(self, server_us: Any) -> float:
        return int(server_us)


class VirtualHealth(RedisHealth):
    """One process as the server sees it, in the test's time."""

    def __post_init__(self) -> None:
        self._script = self.redis.register_script(with_clock_of_test(api_health.script()))


async def set_clock(redis: Redis, microseconds: int) -> None:
    """Move the server's time."""
    await redis.set(CLOCK, microseconds)
