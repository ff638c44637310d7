"""A slow API leaves room in the process for the others."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.engine import gate_coming, gate_queue
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import GateBusy, Permit, Visit

PATIENCE = 60.0
SLOW, OTHER = Visit(api="slow"), Visit(api="other")


@pytest.fixture
async def gate() -> AsyncIterator[SharedGate]:
    apis = {name: ApiConfig(name=name, connections=1) for name in ("slow", "other")}
    nobody = RedisLimits(connect("redis://127.0.0.1:1/0"), holder_id="h")
    gate = SharedGate(nobody, apis, most_waiting=10)
    yield gate
    await gate.aclose()


async def in_line(gate: SharedGate, visit: Visit, runs: int) -> list[asyncio.Task[Permit]]:
    """One in a call, the others waiting."""
    tasks = [asyncio.create_task(gate.enter(visit, patience_seconds=PATIENCE)) for _ in range(runs)]
    await asyncio.sleep(0)
    return tasks


def turned_away(gate: SharedGate, visit: Visit) -> bool:
    return gate.turns_away(visit, patience_seconds=PATIENCE) is not None


async def stop(tasks: list[asyncio.Task[Permit]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_api_may_not_fill_the_process_with_waiting_runs(gate: SharedGate) -> None:
    waiting = await in_line(gate, SLOW, 10)
    assert not turned_away(gate, SLOW)
    waiting += await in_line(gate, SLOW, 1)
    assert turned_away(gate, SLOW)
    assert not turned_away(gate, OTHER)
    await stop(waiting)


async def test_compensations_find_room(gate: SharedGate) -> None:
    waiting = await in_line(gate, SLOW, 11)
    assert not turned_away(gate, Visit(api="slow", undo=True))
    await stop(waiting)


async def test_the_one_that_waits_little_is_not_turned_away_for_the_other(gate: SharedGate) -> None:
    waiting = await in_line(gate, SLOW, 9) + await in_line(gate, OTHER, 3)
    assert turned_away(gate, SLOW)
    assert not turned_away(gate, OTHER)
    await stop(waiting)


async def test_a_tenant_with_little_in_line_finds_room_behind_one_with_much(
    gate: SharedGate,
) -> None:
    waiting = await in_line(gate, SLOW, 12)
    small = Visit(api="slow", tenant="small")
    assert turned_away(gate, SLOW)
    for _ in range(3):
        assert not turned_away(gate, small)
        waiting += await in_line(gate, small, 1)
    assert turned_away(gate, small)
    await stop(waiting)


async def test_there_is_room_again_when_some_have_gone(gate: SharedGate) -> None:
    waiting = await in_line(gate, SLOW, 11)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    assert not turned_away(gate, SLOW)
    await stop(waiting)


async def test_those_who_come_at_once_are_told_before_they_have_come(gate: SharedGate) -> None:
    """They write their intents down first, and would have to take them back."""
    waiting = await in_line(gate, SLOW, 6)
    coming = [Visit(api="slow", run_id=f"r-{number}") for number in range(20)]
    told = [turned_away(gate, visit) for visit in coming]
    assert told == [False] * 5 + [True] * 15
    for visit in coming[:5]:
        waiting += await in_line(gate, visit, 1)
    assert turned_away(gate, coming[-1])
    await stop(waiting)


async def test_while_the_line_is_short_all_may_come(gate: SharedGate) -> None:
    waiting = await in_line(gate, SLOW, 2)
    for number in range(20):
        assert not turned_away(gate, Visit(api="slow", run_id=f"r-{number}"))
    await stop(waiting)


async def test_who_does_not_come_is_not_counted_for_long(
    gate: SharedGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await in_line(gate, SLOW, 6)
    monkeypatch.setattr(gate_coming, "COMING_SECONDS", 0.0)
    for number in range(20):
        assert not turned_away(gate, Visit(api="slow", run_id=f"r-{number}"))
    await stop(waiting)


@pytest.mark.parametrize("patience", [PATIENCE, 0.001], ids=["at once", "while it waits"])
async def test_who_is_turned_away_leaves_no_garbage(gate: SharedGate, patience: float) -> None:
    """An error that is kept in the frame that raised it is a cycle, with all of its run's state."""
    waiting = await in_line(gate, SLOW, 11 if patience == PATIENCE else 1)
    with without_garbage_collection():
        for _ in range(10):
            with pytest.raises(GateBusy):
                await gate.enter(SLOW, patience_seconds=patience)
        assert gc.collect() == 0
    await stop(waiting)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_who_comes_to_a_line_that_moves_fast_is_not_turned_away(gate: SharedGate) -> None:
    """Hundreds that come at once to an API that takes them at once hold no room for long."""
    waiting = await in_line(gate, SLOW, 11)
    assert turned_away(gate, SLOW), "it is not known yet how fast it moves"
    for task in waiting[:3]:
        (await task).release()
    waiting += await in_line(gate, SLOW, 10)
    assert gate.snapshot()["slow"].waiting > 10
    assert not turned_away(gate, SLOW)
    await stop(waiting)


async def test_no_more_are_let_in_at_once_than_can_leave_in_time() -> None:
    nobody = RedisLimits(connect("redis://127.0.0.1:1/0"), holder_id="h")
    most = 3 * gate_queue.MOST_LET_IN
    gate = SharedGate(nobody, {"api": ApiConfig(name="api", connections=most)})
    visit = Visit(api="api")
    permits = [gate.try_enter(visit) for _ in range(most)]
    waiting = await in_line(gate, visit, most)
    for permit in permits:
        assert permit is not None
        permit.release()
    assert gate.snapshot()["api"].in_use == gate_queue.MOST_LET_IN
    await asyncio.gather(*waiting)
    assert gate.snapshot()["api"].in_use == most, "and the others after them"
    await gate.aclose()
