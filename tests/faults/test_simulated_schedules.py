"""Schedules that simulations have found, each played by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from orchestrator.errors import Unavailable
from orchestrator.ports import Hint
from tests.faults.memory.store import MemoryStore
from tests.faults.simulation.backing import MemoryBacking
from tests.faults.simulation.broker import Broker
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import judge
from tests.faults.simulation.loop import VirtualLoop
from tests.faults.simulation.quiet import quiet
from tests.faults.workload import BY_NAME, RunSeed

Play = Callable[[House], Coroutine[Any, Any, None]]
RUN = RunSeed(name="k1-000001", shape=BY_NAME["one"])
LONG_ENOUGH_SECONDS = 30.0
SLOW_API = (1.0, 1.0)


def played(play: Play, *, workers: int = 1, seed: RunSeed = RUN) -> tuple[House, tuple[str, ...]]:
    """A house in which this happened, and which promises were broken."""
    with quiet(0):
        loop = VirtualLoop()
        options = Options(workers=workers, latency=SLOW_API)
        house = House(loop, 0, MemoryBacking(loop), options)

        async def whole() -> None:
            await house.open()
            await asyncio.sleep(0.5)
            await play(house)
            await asyncio.sleep(LONG_ENOUGH_SECONDS)

        try:
            loop.run_until_complete(whole())
            house.close()
            verdict = loop.run_apart(judge(house, [seed], secrets=True))
        finally:
            loop.close()
    return house, tuple(violation.detail for violation in verdict.violations)


def test_a_doubled_hint_does_not_take_a_run_from_its_own_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its claim is not answered, so its process is unsure; but that run is in good hands."""
    put, claim, claims = Broker.put, MemoryStore.claim, 0

    def twice(self: Broker, hint: Hint) -> None:
        put(self, hint)
        asyncio.get_running_loop().call_later(0.3, put, self, hint)

    async def second_fails(self: MemoryStore, hints: Any, *, owner: str) -> Any:
        nonlocal claims
        claims += 1
        if claims == 2:
            self.line = _refusing
        try:
            return await claim(self, hints, owner=owner)
        finally:
            self.line = None

    async def play(house: House) -> None:
        house.submit([RUN])

    monkeypatch.setattr(Broker, "put", twice)
    monkeypatch.setattr(MemoryStore, "claim", second_fails)
    house, broken = played(play)
    assert claims >= 2, "the second hint has arrived"
    assert broken == ()
    assert house.desk.requests == 1


def _refusing(moment: str, _call: str) -> Awaitable[None] | None:
    raise Unavailable("database", "here", "connection refused")
