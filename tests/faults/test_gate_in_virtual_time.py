"""A gate over hours of virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.engine.apis import ApiConfig, ApiFile
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.gate_supply import IDLE_SECONDS
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import Visit
from orchestrator.testing.loop import Process, VirtualLoop
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from orchestrator.testing.quiet import quiet
from tests.faults.mutants.deadline import TooLong, time_limit

VISIT = Visit(api="api")


def test_a_call_may_last_longer_than_the_pump_stays_without_being_asked() -> None:
    async def call() -> None:
        permit = await gate.enter(VISIT, patience_seconds=10.0)
        await asyncio.sleep(5 * IDLE_SECONDS)
        permit.release()
        (await gate.enter(VISIT, patience_seconds=10.0)).release()
        await gate.aclose()

    loop = VirtualLoop()
    limits = MemoryLimits(
        LimitServer(lambda: 1e6 + loop.time()), holder_id="one", monotonic=loop.time
    )
    gate = SharedGate(limits, {"api": ApiConfig(name="api", rates=parse_rates("10/second"))})
    try:
        with quiet(1), time_limit(10.0):
            loop.run_until_complete(call())
    except TooLong:
        pytest.fail("the pump spins, and no time passes")
    loop.close()


@pytest.mark.parametrize(("timeout", "lasts"), [(5.0, 5.0), (None, 20.0)])
def test_a_call_that_is_given_up_holds_its_slots_until_its_time_is_over(
    timeout: float | None, lasts: float
) -> None:
    file = {
        "concurrency": 2,
        "timeouts": {"total": 20},
        "rules": {"each": {"per": "tenant", "concurrency": 2}},
    }

    async def calls() -> float:
        gate = SharedGate(limits, {"api": ApiFile(name="api", data=file).config()})
        given_up, _ = [await gate.enter(VISIT, patience_seconds=10.0) for _ in range(2)]
        begun = loop.time()
        await asyncio.sleep(1.0)
        given_up.give_up(after_seconds=1.0, timeout_seconds=timeout)
        given_up.release()
        given_up.hand_back()
        await gate.enter(VISIT, patience_seconds=60.0)
        free_after = loop.time() - begun
        await gate.aclose()
        return free_after

    loop = VirtualLoop()
    limits = MemoryLimits(
        LimitServer(lambda: 1e6 + loop.time()), holder_id="one", monotonic=loop.time
    )
    with quiet(1), time_limit(10.0):
        free_after = loop.run_until_complete(calls())
    loop.close()
    assert free_after == pytest.approx(lasts, abs=0.001)


AMOUNT, WINDOW = 1000, 10.0


def test_processes_that_are_held_up_all_the_time_use_the_rate_nevertheless() -> None:
    """Each stands still for longer than a start time is good, about four times a second."""
    left: list[float] = []

    async def caller(gate: SharedGate) -> None:
        while True:
            permit = await gate.enter(VISIT, patience_seconds=60.0)
            if not permit.fresh:
                permit.hand_back()
                continue
            left.append(loop.time())
            await asyncio.sleep(0.01)
            permit.release()

    async def hold_up(process: Process) -> None:
        chance = random.Random(process.name)
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.45))
            process.freeze()
            await asyncio.sleep(chance.uniform(0.02, 0.08))
            process.thaw()

    async def whole() -> None:
        api = ApiConfig(name="api", rates=parse_rates(f"{AMOUNT}/{WINDOW:.0f} second"))
        server = LimitServer(lambda: 1e6 + loop.time())
        tasks = []
        for name in ("one", "two"):
            process = Process(loop, name)
            limits = MemoryLimits(server, holder_id=name, monotonic=loop.time)
            gate = SharedGate(limits, {"api": api})
            tasks += [process.start(caller(gate)) for _ in range(200)]
            tasks.append(asyncio.create_task(hold_up(process)))
        await asyncio.sleep(3 * WINDOW)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop = VirtualLoop()
    with quiet(1), time_limit(60.0):
        loop.run_until_complete(whole())
    loop.close()
    steady = [at for at in left if 5.0 < at <= 5.0 + 2 * WINDOW]
    assert len(steady) >= 0.99 * 2 * AMOUNT
    assert all(b - a > WINDOW for a, b in zip(left, left[AMOUNT:], strict=False))
