"""What people are shown of the gate, against what its scripts wrote on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.coordination.looking import RedisGateView
from orchestrator.core.health import FIRST_CUT, BreakerState, HealthRules, News
from orchestrator.errors import Unavailable
from orchestrator.ports.gate_view import ApiState
from tests.integration.gate.shared_servers import reserve

RULES = HealthRules(calls=10, open_seconds=0.3)


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = connect(valkey_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def state(redis: Redis, api: str = "api") -> ApiState:
    return (await RedisGateView(redis).states([api]))[api]


async def reported(redis: Redis, *news: News) -> None:
    """Each by another process."""
    for number, each in enumerate(news):
        await RedisHealth(redis, holder_id=f"process-{number}").report("api", RULES, each)


@pytest.mark.broker
async def test_one_that_nobody_calls_is_well(redis: Redis) -> None:
    assert await state(redis) == ApiState()


@pytest.mark.broker
async def test_calls_of_all_processes_are_counted(redis: Redis) -> None:
    await reported(redis, News(calls=30, failures=2, slow=1), News(calls=12))
    seen = await state(redis)
    assert (seen.calls, seen.failures, seen.slow) == (42, 2, 1)
    assert (seen.breaker, seen.pace) == (BreakerState.CLOSED, 1.0)
    assert await state(redis, "another") == ApiState()


@pytest.mark.broker
async def test_an_open_breaker_is_shown_until_it_is_time_to_try(redis: Redis) -> None:
    await reported(redis, News(calls=10, failures=10))
    seen = await state(redis)
    assert seen.breaker is BreakerState.OPEN
    assert 0 < seen.tried_in_seconds <= 0.3
    async with asyncio.timeout(20):
        while seen.breaker is BreakerState.OPEN:  # although nobody reports meanwhile
            await asyncio.sleep(0.02)
            seen = await state(redis)
    assert (seen.breaker, seen.tried_in_seconds) == (BreakerState.HALF_OPEN, 0.0)


@pytest.mark.broker
async def test_a_pause_and_a_cut_of_the_pace(redis: Redis) -> None:
    await reported(redis, News(throttled=True, pause_seconds=300.0))
    seen = await state(redis)
    assert 200 < seen.paused_seconds <= 300
    assert FIRST_CUT <= seen.pace <= 1.0


@pytest.mark.broker
async def test_slots_and_waiting_of_all_processes(redis: Redis) -> None:
    for name, wanted in (("a", 3), ("b", 9)):
        process = RedisLimits(redis, holder_id=name)
        await process.lease("api", limit=8, wanted=wanted, held=0)
        await reserve(process, rate="1/minute", count=wanted)
    seen = await state(redis)
    assert (seen.slots_limit, seen.slots_wanted) == (8, 12)
    assert 0 <= seen.slots_lent <= 8
    assert seen.waiting == 12
    await RedisLimits(redis, holder_id="b").leave("api")
    assert (await state(redis)).slots_wanted == 3


async def test_a_store_that_is_away_is_named() -> None:
    async with connect("redis://127.0.0.1:1/0") as client:
        with pytest.raises(Unavailable, match="gate store"):
            await RedisGateView(client, where="redis://127.0.0.1:1/0").states(["api"])
