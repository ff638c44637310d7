"""Schedules that simulations have found, each played by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.crashpoints import Crash, Reached
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.gate_queue import ApiQueue
from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, Visit
from orchestrator.testing.loop import PROCESS, Process, VirtualLoop
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.process import LIMITS
from orchestrator.testing.quiet import quiet
from tests.faults.ledger.faults import Asked, Fate, Fault, FaultPlan
from tests.faults.simulation.backing import MemoryBacking
from tests.faults.simulation.broker import Broker
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import judge
from tests.faults.simulation.worker import Worker
from tests.faults.workload import API, BY_NAME, RunSeed

Play = Callable[[House], Coroutine[Any, Any, None]]
RUN = RunSeed(name="k1-000001", shape=BY_NAME["one"])
LONG_ENOUGH_SECONDS = 30.0
SLOW_API = (1.0, 1.0)
FROZEN_SECONDS = 5.5  # longer than slots are kept, shorter than a process is trusted to live
BUSY = tuple(RunSeed(name=f"k1-{number:06d}", shape=BY_NAME["one"]) for number in range(12))


def played(
    play: Play, seeds: Sequence[RunSeed] = (RUN,), **options: Any
) -> tuple[House, tuple[str, ...]]:
    """A house in which this happened, and which promises were broken."""
    with quiet(0):
        loop = VirtualLoop()
        made = Options(latency=SLOW_API, **{"workers": 1, **options})
        house = House(loop, 0, MemoryBacking(loop), made)

        async def whole() -> None:
            await house.open()
            await asyncio.sleep(0.5)
            await play(house)
            await asyncio.sleep(LONG_ENOUGH_SECONDS)

        try:
            loop.run_until_complete(whole())
            house.close()
            verdict = loop.run_apart(judge(house, seeds, secrets=True))
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


def test_a_process_that_stood_still_does_not_fill_a_slot_that_others_have_by_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was let in, and frozen before it could send, for longer than its slots were kept."""
    enter, frozen = ApiQueue.enter, []

    async def then_frozen(self: ApiQueue, visit: Visit, patience_seconds: float) -> Any:
        permit = await enter(self, visit, patience_seconds)
        process = PROCESS.get()
        if not frozen and isinstance(process, Worker):
            frozen.append(process)
            process.house.freeze(process, FROZEN_SECONDS)
        return permit

    async def play(house: House) -> None:
        for number, seed in enumerate(BUSY):
            house.loop.call_later(number * 0.5, house.submit, [seed])

    monkeypatch.setattr(ApiQueue, "enter", then_frozen)
    _, broken = played(play, BUSY, workers=2, at_once=1)
    assert frozen
    assert broken == ()


def test_slots_are_lost_with_their_lease() -> None:
    """Also when it is renewed before anybody looks: in between others may have had them."""

    async def play(loop: VirtualLoop) -> tuple[bool, bool, bool]:
        server = LimitServer(lambda: 1e6 + loop.time())
        shared = MemoryLimits(server, holder_id="a", monotonic=loop.time)
        gate = SharedGate(shared, {API: ApiConfig(name=API, concurrency=2)})
        permit = await gate.enter(Visit(api=API), patience_seconds=60.0)
        await asyncio.sleep(60.0)
        kept = permit.fresh
        server.away = True
        await asyncio.sleep(30.0)
        away = permit.fresh
        server.away = False
        await asyncio.sleep(30.0)
        return kept, away, permit.fresh

    with quiet(0):
        loop = VirtualLoop()
        assert loop.run_until_complete(play(loop)) == (True, False, False)
        loop.close()


def test_a_failing_worker_gives_a_run_back_that_somebody_wants_cancelled() -> None:
    """It would sleep, and a run that would sleep stays with its owner while the wish is open."""
    failures = 0

    async def play(house: House) -> None:
        busy = Fate(fault=Fault.BUSY, status=503, retry_after="2")
        house.desk.faults.will(RUN.name, "s1", "do", busy)
        store = house.backing.view()

        def fail(reached: Reached, _: Process) -> None:
            nonlocal failures
            if reached.point == "after_claim" and house.desk.requests and not failures:
                failures += 1
                wish = store.request_cancel(
                    reached.run_id, mode=CancelMode.UNDO, reason="not wanted", by="ada"
                )
                house.loop.run_apart(wish)
                raise Crash

        house.happens_at_point = fail
        house.submit([RUN])

    at_once = replace(LIMITS, short_wait_seconds=0.0)
    _, broken = played(play, inline=at_once)
    assert failures == 1
    assert broken == ()


class Outage(FaultPlan):
    """Every request fails until it is over."""

    over = False

    def next(self, asked: Asked) -> Fate:
        """See FaultPlan."""
        if self.over:
            return super().next(asked)
        return Fate(fault=Fault.ERROR, status=500, effect=False)


def test_an_outage_fails_no_run_and_costs_few_attempts() -> None:
    seeds = tuple(RunSeed(name=f"k1-{number:06d}", shape=BY_NAME["one"]) for number in range(400))
    during: list[int] = []

    async def play(house: House) -> None:
        house.desk.faults = outage = Outage()
        for number in range(20):
            house.submit(seeds[number * 20 : (number + 1) * 20])
            await asyncio.sleep(0.25)
        await asyncio.sleep(25.0)
        during.append(house.desk.requests)
        outage.over = True
        await asyncio.sleep(90.0)

    house, broken = played(play, seeds, workers=2)
    assert broken == ()
    assert during[0] < 200, "the others never left"
    assert house.desk.requests == during[0] + len(seeds)
    store = house.backing.view()
    ended = [house.loop.run_apart(store.run(run_id)) for run_id in house.run_ids.values()]
    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}
