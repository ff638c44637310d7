"""One process's gate on a real server: order, patience, cancelling, and the server being away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.valkey import start_valkey
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import GateBusy, Permit, Visit
from tests.steady import HeldStill

Make = Callable[..., SharedGate]


VISIT = Visit(api="api")


@pytest.fixture
async def make(valkey_url: str) -> AsyncIterator[Make]:
    """Makes gates for the API "api"; each stands for a process."""
    async with AsyncExitStack() as stack:

        def gate(holder: str = "one", *, rate: str = "", url: str = "", **more: Any) -> SharedGate:
            client = connect(url or valkey_url)
            stack.push_async_callback(client.aclose)
            config = ApiConfig(name="api", rates=parse_rates(rate), **more)
            made = SharedGate(RedisLimits(client, holder_id=holder), {"api": config})
            stack.push_async_callback(made.aclose)
            return made

        yield gate


async def enter(gate: SharedGate, patience: float = 10.0) -> Permit:
    return await gate.enter(VISIT, patience_seconds=patience)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the gate has no event for it
            await asyncio.sleep(0.01)


async def test_without_limits_nobody_asks_the_server_and_connections_bound() -> None:
    apis = {"api": ApiConfig(name="api", connections=1000)}
    gate = SharedGate(RedisLimits(connect("redis://127.0.0.1:1/0"), holder_id="h"), apis)
    permits = [gate.try_enter(VISIT) for _ in range(1000)]
    assert all(permit is not None and permit.fresh for permit in permits)
    assert gate.try_enter(VISIT) is None
    waiting = asyncio.create_task(enter(gate))
    await asyncio.sleep(0)
    for permit in permits:
        assert permit is not None
        permit.release()
        permit.release()
    (await waiting).release()
    assert gate.snapshot()["api"].in_use == 0


async def test_slots_are_filled_without_asking_and_no_further(make: Make) -> None:
    gate = make(concurrency=3)
    (await enter(gate)).release()
    await until(lambda: gate.snapshot()["api"].allowance == 3)
    permits = [gate.try_enter(VISIT) for _ in range(4)]
    assert [permit is not None for permit in permits] == [True, True, True, False]
    assert permits[0] is not None
    permits[0].release()
    permits[0].release()
    assert gate.try_enter(VISIT) is not None
    assert gate.try_enter(VISIT) is None


async def test_first_come_first_served(make: Make) -> None:
    gate = make(concurrency=1)
    held = await enter(gate)
    order: list[int] = []

    async def run(number: int) -> None:
        permit = await enter(gate)
        order.append(number)
        permit.release()

    runs = [asyncio.create_task(run(number)) for number in range(20)]
    await until(lambda: gate.snapshot()["api"].waiting == 20)
    held.release()
    assert gate.try_enter(VISIT) is None  # others came before
    await asyncio.gather(*runs)
    assert order == list(range(20))


async def test_patience_ends_and_nothing_is_left_behind(make: Make) -> None:
    gate = make(concurrency=1)
    held = await enter(gate)
    begun = time.monotonic()
    with pytest.raises(GateBusy) as busy:
        await enter(gate, patience=0.2)
    assert 0.15 < time.monotonic() - begun < 20.0
    assert busy.value.seconds > 0
    assert gate.snapshot()["api"].waiting == 0
    held.release()
    assert gate.try_enter(VISIT) is not None


async def test_a_hopeless_wait_is_refused_at_once_with_its_length(
    make: Make, held_still: HeldStill
) -> None:
    gate = make(rate="2/minute")
    for _ in range(2):
        (await enter(gate)).release()
    waiting = asyncio.create_task(enter(gate, patience=3600))
    await until(lambda: gate.snapshot()["api"].expected_wait_seconds > 5)
    begun = time.monotonic()
    with pytest.raises(GateBusy) as busy:
        await enter(gate, patience=1.0)
    seconds = time.monotonic() - begun
    held_still(seconds < 0.1, f"refused after {seconds} s")
    assert 50 < busy.value.seconds < 130
    waiting.cancel()


async def test_a_cancelled_waiter_leaves_its_place_to_the_next(make: Make) -> None:
    gate = make(concurrency=1)
    held = await enter(gate)
    first, second = (asyncio.create_task(enter(gate)) for _ in range(2))
    await until(lambda: gate.snapshot()["api"].waiting == 2)
    first.cancel()
    held.release()
    assert (await second).fresh
    assert gate.snapshot()["api"].in_use == 1


async def test_a_permit_that_reaches_a_cancelled_waiter_is_not_lost(make: Make) -> None:
    gate = make(concurrency=1)
    held = await enter(gate)
    waiter = asyncio.create_task(enter(gate))
    await until(lambda: gate.snapshot()["api"].waiting == 1)
    held.release()  # the permit is on its way to the waiter …
    waiter.cancel()  # … which ends before it runs again
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert gate.snapshot()["api"].in_use == 0
    assert gate.try_enter(VISIT) is not None


async def test_a_thousand_cancelled_waiters_cost_no_start_times(
    make: Make, held_still: HeldStill
) -> None:
    gate = make(rate="100/second")
    (await enter(gate)).release()
    waiters = [asyncio.create_task(enter(gate, patience=60)) for _ in range(1000)]
    await until(lambda: gate.snapshot()["api"].reserved > 0)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    begun = time.monotonic()
    (await enter(gate)).release()
    seconds = time.monotonic() - begun
    assert gate.snapshot()["api"].waiting == 0
    held_still(seconds < 1.0, f"let in after {seconds} s")


async def test_a_permit_for_a_rate_is_only_good_for_a_moment(make: Make) -> None:
    gate = make(rate="100/second")
    permit = await enter(gate)
    assert permit.fresh
    await asyncio.sleep(0.05)
    assert not permit.fresh
    permit.release()


async def test_a_waiter_that_runs_late_queues_again(make: Make) -> None:
    gate = make(rate="100/second")
    (await enter(gate)).release()
    waiters = [asyncio.create_task(enter(gate)) for _ in range(10)]
    await until(lambda: gate.snapshot()["api"].reserved > 0)
    time.sleep(0.3)  # noqa: ASYNC251 - the loop stands still, start times pass
    permits = await asyncio.gather(*waiters)
    assert permits[-1].fresh


async def test_a_process_at_rest_gives_way_to_one_in_need(make: Make) -> None:
    idle, busy = make("idle", concurrency=10), make("busy", concurrency=10)
    (await enter(idle)).release()
    permits = [await enter(busy) for _ in range(10)]
    assert idle.try_enter(VISIT) is None
    with pytest.raises(GateBusy):
        await enter(idle, patience=0.5)
    for permit in permits[:5]:
        permit.release()
    assert (await enter(idle)).fresh


async def test_closing_gives_free_slots_back_and_keeps_those_in_flight(make: Make) -> None:
    first, second = make("first", concurrency=4), make("second", concurrency=4)
    for _ in range(3):
        await enter(first)
    await first.aclose()
    assert (await enter(second)).fresh
    with pytest.raises(GateBusy):
        await enter(second, patience=0.5)


async def test_closing_turns_waiters_away(make: Make) -> None:
    gate = make(concurrency=1)
    await enter(gate)
    waiter = asyncio.create_task(enter(gate))
    await until(lambda: gate.snapshot()["api"].waiting == 1)
    await gate.aclose()
    with pytest.raises(GateBusy):
        await waiter
    with pytest.raises(GateBusy):
        await enter(gate)


@pytest.fixture
def server(tmp_path: Any) -> AsyncIterator[Child]:
    """A server of the test's own, that it may stop."""
    child = start_valkey(tmp_path, log_path=tmp_path / "log")
    yield child
    stop_all([child])


async def test_it_closes_while_the_server_is_away_and_opens_again(
    make: Make, server: Child
) -> None:
    url = server.spec.address
    gate = make(url=url, concurrency=5)
    permit = await enter(gate)
    with redis.Redis.from_url(url) as client:
        client.execute_command("CLIENT", "PAUSE", "6000", "ALL")
    permit.release()
    await until(lambda: gate.snapshot()["api"].allowance == 0)
    assert gate.try_enter(VISIT) is None
    with pytest.raises(GateBusy):
        await enter(gate, patience=0.2)
    await until(lambda: gate.snapshot()["api"].away_seconds > 0)
    assert (await enter(gate, patience=30)).fresh
    assert gate.snapshot()["api"].away_seconds == 0


async def test_nobody_enters_when_the_server_was_never_there(
    make: Make, unused_tcp_port: int
) -> None:
    for limit in ({"concurrency": 5}, {"rate": "5/second"}):
        gate = make(url=f"redis://127.0.0.1:{unused_tcp_port}/0", **limit)
        with pytest.raises(GateBusy) as busy:
            await enter(gate, patience=0.5)
        assert busy.value.seconds > 0
