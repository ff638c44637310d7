"""A gate over hours of virtual time."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.gate_supply import IDLE_SECONDS
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import Visit
from tests.faults.memory.limits import LimitServer, MemoryLimits
from tests.faults.mutants.deadline import TooLong, time_limit
from tests.faults.simulation.loop import VirtualLoop
from tests.faults.simulation.quiet import quiet

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
