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
EXPIRIES = "test:expiries"  # by key: when it is forgotten
_READ = f"local time = tonumber(redis.call('GET', '{CLOCK}'))\n  return time\n"


def scripted(name: str) -> str:
    """A script whose `microseconds()` answers the test's clock."""
    return with_clock_of_test(limits._lua(name))


def with_clock_of_test(text: str) -> str:
    """The same for a script's text."""
    begin = text.index("  local time = redis.call('TIME')")
    end = text.index("end", begin)
    return text[:begin] + _READ + text[end:]


_EXPIRE = f"""
local function expire_in_test(key, milliseconds)
  redis.call('HSET', '{EXPIRIES}', key, text(microseconds() + milliseconds * 1000))
end
"""
_SET_CLOCK = f"""
redis.call('SET', '{CLOCK}', ARGV[1])
local expiries = redis.call('HGETALL', '{EXPIRIES}')
for i = 1, #expiries, 2 do
  if tonumber(expiries[i + 1]) <= tonumber(ARGV[1]) then
    redis.call('DEL', expiries[i])
    redis.call('HDEL', '{EXPIRIES}', expiries[i])
  end
end
"""


def _expiring(script: str) -> str:
    """Keys are forgotten by the test's clock, which the server does not know."""
    begin = script.index("local function this_server()")
    rest = script[begin:]
    assert "'PEXPIRE'" in rest
    return script[:begin] + _EXPIRE + rest.replace("redis.call('PEXPIRE', ", "expire_in_test(")


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
        self._reserve = self.redis.register_script(
            _expiring(_keeping(self.kept, scripted("reserve")))
        )

    def _monotonic(self, server_us: Any) -> float:
        return int(server_us)


class VirtualHealth(RedisHealth):
    """One process as the server sees it, in the test's time."""

    def __post_init__(self) -> None:
        self._script = self.redis.register_script(with_clock_of_test(api_health.script()))


async def set_clock(redis: Redis, microseconds: int) -> None:
    """Move the server's time; what is over by then is forgotten."""
    await redis.eval(_SET_CLOCK, 0, microseconds)
