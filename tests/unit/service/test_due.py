"""The alarm clock looks when somebody is due, and not much oftener."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import Unavailable
from orchestrator.service.due import SHORTEST_PAUSE_SECONDS, AlarmClock
from orchestrator.testing.loop import VirtualLoop

EPOCH = datetime(2027, 1, 1, tzinfo=UTC)


class Table:
    """Sleepers by the second at which they are due, those of other processes among them."""

    def __init__(self, times: Sequence[float] = ()) -> None:
        self.times, self.woken, self.looks = sorted(times), list[tuple[float, float]](), 0
        self.failures: list[Exception] = []

    async def due_in(self) -> float:
        self.looks += 1
        if self.failures:
            raise self.failures.pop()
        return self.times[0] - _time() if self.times else float("inf")

    async def publish(self) -> None:
        now = _time()
        self.woken += [(at, now) for at in self.times if at <= now]
        self.times = [at for at in self.times if at > now]


def _time() -> float:
    return asyncio.get_running_loop().time()


def played(table: Table, seconds: float, notes: Sequence[tuple[float, float]] = ()) -> list[float]:
    """How late each was woken. `notes`: at which time one until when is put to sleep here."""

    async def play() -> None:
        began = _time()
        table.times = [began + at for at in table.times]
        clock = AlarmClock(
            table, look_every=1.0, jitter=lambda: 0.5,
            now=lambda: EPOCH + timedelta(seconds=_time()),
        )  # fmt: skip
        task = asyncio.create_task(clock.run_passes())
        for at, until in notes:
            await asyncio.sleep(began + at - _time())
            table.times = sorted([*table.times, began + until])
            clock.note(EPOCH + timedelta(seconds=began + until))
        await asyncio.sleep(began + seconds - _time())
        task.cancel()

    with closing(VirtualLoop()) as loop:
        loop.run_until_complete(play())
    return [now - at for at, now in table.woken]


def test_nobody_is_looked_for_oftener_than_said_while_nobody_is_due() -> None:
    table = Table([99.0])
    assert played(table, 30.0) == []
    assert 29 <= table.looks <= 32


@pytest.mark.parametrize("at", [0.35, 1.7, 7.77])
def test_who_is_known_wakes_at_once(at: float) -> None:
    (late,) = played(Table([at]), 10.0)
    assert late == pytest.approx(0.0, abs=0.001)


def test_who_is_put_to_sleep_here_wakes_at_once() -> None:
    late = played(Table([20.0]), 5.0, notes=[(2.05, 2.4), (2.1, 2.3), (4.0, 4.01)])
    assert len(late) == 3
    assert late == pytest.approx([0.0, 0.0, 0.0], abs=SHORTEST_PAUSE_SECONDS + 0.001)
    assert late[0] == pytest.approx(0.0, abs=0.001)


def test_who_is_put_to_sleep_elsewhere_wakes_with_the_next_look() -> None:
    table = Table()

    async def elsewhere() -> None:
        await asyncio.sleep(2.05)
        table.times = [_time() + 0.01]

    async def play() -> None:
        clock = AlarmClock(table, look_every=1.0, jitter=lambda: 0.5, now=lambda: EPOCH)
        task = asyncio.create_task(clock.run_passes())
        await elsewhere()
        await asyncio.sleep(3.0)
        task.cancel()

    with closing(VirtualLoop()) as loop:
        loop.run_until_complete(play())
    ((at, woken),) = table.woken
    assert 0.0 <= woken - at <= 1.0


def test_many_are_few_batches() -> None:
    table = Table([1.0 + number / 1000 for number in range(2000)])
    late = played(table, 5.0)
    assert len(late) == 2000
    assert max(late) <= SHORTEST_PAUSE_SECONDS + 0.001
    assert table.looks < 60


def test_a_database_that_is_away_is_waited_for() -> None:
    table = Table([2.5])
    away = Unavailable("database", "here", "away")
    table.failures = [away, ValueError("a bug"), away]
    assert len(played(table, 10.0)) == 1
