"""Whoever waits for a run hears soon of what happens soon, and costs little where it takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import Progress
from orchestrator.service.watching import LOOK_SECONDS, REST, SOONEST_SECONDS, RunWatch
from orchestrator.testing.loop import VirtualLoop

T = TypeVar("T")


class Table:
    """Runs whose progress comes at set times; a look takes `seconds`."""

    def __init__(self, changes: dict[str, Sequence[float]], *, seconds: float = 0.001) -> None:
        self.changes, self.seconds, self.looks = changes, seconds, 0
        self.failure: Unavailable | None = None

    async def progress(self, run_ids: Collection[str]) -> Mapping[str, Progress]:
        self.looks += 1
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        now = _time()
        return {
            each: Progress(
                status=RunStatus.RUNNING, audit_seq=sum(at <= now for at in self.changes[each])
            )
            for each in run_ids
            if each in self.changes
        }


def _time() -> float:
    return asyncio.get_running_loop().time()


def played(play: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with closing(VirtualLoop()) as loop:
        return loop.run_until_complete(play())


@pytest.mark.parametrize("at", [0.004, 0.02, 0.3, 2.0])
def test_it_is_heard_of_within_a_quarter_of_the_time_that_it_took(at: float) -> None:
    table = Table({"a": [at]})

    async def play() -> float:
        assert await RunWatch(table).changed("a", after=0, seconds=30) is not None
        return _time()

    late = played(play) - at
    assert 0 <= late <= SOONEST_SECONDS + min(at / 4, LOOK_SECONDS) + 2 * table.seconds


def test_who_waits_long_is_looked_for_ten_times_a_second() -> None:
    table = Table({"a": []})

    async def play() -> None:
        assert await RunWatch(table).changed("a", after=0, seconds=30) is None

    played(play)
    assert 290 <= table.looks <= 330


def test_who_comes_while_others_wait_is_looked_for_at_once() -> None:
    table = Table({"old": [], "new": [10.01]})

    async def play() -> float:
        watch = RunWatch(table)
        old = asyncio.create_task(watch.changed("old", after=0, seconds=20))
        await asyncio.sleep(10.0)
        assert await watch.changed("new", after=0, seconds=5) is not None
        old.cancel()
        return _time()

    assert played(play) <= 10.01 + 2 * SOONEST_SECONDS + 4 * table.seconds


def test_a_database_that_is_slow_has_time_for_others() -> None:
    table = Table({str(each): [] for each in range(1000)}, seconds=0.05)

    async def play() -> None:
        watch = RunWatch(table)
        waiting = []
        for each in table.changes:  # somebody new comes all the time
            waiting.append(asyncio.create_task(watch.changed(each, after=0, seconds=0.1)))
            await asyncio.sleep(0.02)
        await asyncio.gather(*waiting)

    played(play)
    assert table.looks <= 1000 * 0.02 / (table.seconds * (1 + REST)) + 2


def test_all_who_wait_hear_that_the_database_is_away() -> None:
    table = Table({"a": [], "b": []})
    table.failure = Unavailable("database", "here", "away")

    async def play() -> None:
        watch = RunWatch(table)
        waiting = (watch.changed(each, after=0, seconds=5) for each in table.changes)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found == [table.failure] * 2

    played(play)
