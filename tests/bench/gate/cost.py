"""CPU of one pass of the gate, beside one hit of `limits` on the same server, in one process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import Visit
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Stage

LIMIT = Limit(amount=5000, seconds=10)
_WAITING = 100  # at once
_PATIENCE_SECONDS = 60.0


async def measure(stage: Stage, seconds: float) -> dict[str, Any]:
    """Microseconds of this process's CPU for each. The gate serves at the rate of `steady`."""
    url = f"{stage.gate.url.rpartition('/')[0]}/2"
    gate, passes = await _gate(url, seconds)
    hits = await _hits(url, count=max(passes, 1000))
    return {
        "gate_microseconds": round(1e6 * gate / passes, 1), "limits_microseconds": round(hits, 1),
        "gate_over_limits": round(1e6 * gate / passes / hits, 3), "passes": passes,
    }  # fmt: skip


async def _gate(url: str, seconds: float) -> tuple[float, int]:
    """CPU seconds and passes of tasks that enter over and over, as runs do that wait."""
    redis = connect(url)
    config = ApiConfig(name="cost", rates=parse_rates(LIMIT.notation), concurrency=100)
    gate = SharedGate(RedisLimits(redis, holder_id="cost"), {"cost": config})
    visit, passes = Visit(api="cost"), 0
    await gate.enter(visit, patience_seconds=_PATIENCE_SECONDS)  # the first waits a second
    end = time.monotonic() + seconds

    async def go_on() -> None:
        nonlocal passes
        while time.monotonic() < end:
            permit = gate.try_enter(visit)
            permit = permit or await gate.enter(visit, patience_seconds=_PATIENCE_SECONDS)
            passes += 1
            permit.release()

    before = time.process_time()
    await asyncio.gather(*(go_on() for _ in range(_WAITING)))
    spent = time.process_time() - before
    await gate.aclose()
    await redis.aclose()
    return spent, passes


async def _hits(url: str, *, count: int) -> float:
    """Microseconds of one hit that is admitted, one after the other."""
    storage = RedisStorage(f"async+{url}", implementation="redispy")
    limiter = MovingWindowRateLimiter(storage)
    item = RateLimitItemPerSecond(10 * count, 10)
    await limiter.hit(item, "warm")
    before = time.process_time()
    for _ in range(count):
        await limiter.hit(item, "bench")
    return 1e6 * (time.process_time() - before) / count
