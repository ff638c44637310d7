"""One survey serves all who wait for the next one, whatever becomes of the one or the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.engine.lacking import Code, CodeWatch
from orchestrator.errors import Unavailable
from orchestrator.ports import Redelivery
from orchestrator.ports.surveys import BLIND, Survey, SurveyTimes
from orchestrator.service.due import AlarmClock
from orchestrator.service.surveying import Surveyor
from orchestrator.testing.loop import VirtualLoop

TIMES = SurveyTimes(dead_after=6, lost_after=5, left_after=5)
QUIET = Survey(
    workers=(), due_in_seconds=None, dead=False, untold=False, forsaken=False, paused=False,
    mapped=False, scheduled=False, lost=False, unclaimed=False, lapsed=False, held=False,
    jobs=False, coded=False,
)  # fmt: skip


class Table:
    """Answers as it is told, the last one for ever; its surveys by their times."""

    def __init__(self, *answers: Survey | Exception) -> None:
        self.answers, self.asked_at = list(answers), list[float]()

    async def survey(self, times: SurveyTimes) -> Survey:
        assert times == TIMES
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def played(
    table: Table, play: Callable[[Surveyor], Awaitable[object]],
    told: Sequence[Callable[[Survey], None]] = (),
) -> None:  # fmt: skip
    async def whole() -> None:
        surveyor = Surveyor(table, TIMES, every_seconds=1.0, told=told, jitter=lambda: 0.5)
        passes = asyncio.create_task(surveyor.run_passes())
        await play(surveyor)
        passes.cancel()

    with closing(VirtualLoop()) as loop:
        loop.run_until_complete(whole())


def test_all_who_wait_are_served_by_one() -> None:
    table, seen = Table(QUIET), list[Survey]()

    async def play(surveyor: Surveyor) -> None:
        given_up = asyncio.ensure_future(surveyor.next())
        waiting = [asyncio.ensure_future(surveyor.next()) for _ in range(3)]
        await asyncio.sleep(0)
        given_up.cancel()
        assert await asyncio.gather(*waiting) == [QUIET] * 3
        await asyncio.sleep(3.5)

    played(table, play, told=[seen.append])
    assert len(table.asked_at) == 5 == len(seen), "one a second"


def test_where_a_survey_fails_each_looks_for_itself() -> None:
    async def play(surveyor: Surveyor) -> None:
        assert await surveyor.next() == BLIND
        assert await surveyor.next() == QUIET

    played(Table(ValueError("a row that cannot be read"), QUIET), play)


def test_without_a_database_nobody_is_called() -> None:
    away = Unavailable("database", "here", "away")
    table = Table(away, away, QUIET)

    async def play(surveyor: Surveyor) -> None:
        began = asyncio.get_running_loop().time()
        assert await surveyor.next() == QUIET
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0)

    played(table, play)


def test_an_alarm_clock_looks_when_a_survey_says_that_one_is_due() -> None:
    """Of what others put to sleep; by itself it would look in a minute."""
    woken, looks = list[float](), list[float]()

    class Due:
        async def due_in(self) -> float:
            looks.append(time())
            return 60.0

        async def publish(self) -> None:
            woken.append(time())

    def time() -> float:
        return asyncio.get_running_loop().time()

    clock = AlarmClock(
        Due(), look_every=60.0, jitter=lambda: 0.5, now=lambda: datetime(2027, 1, 1, tzinfo=UTC)
    )

    async def play(surveyor: Surveyor) -> None:
        passes = asyncio.create_task(clock.run_passes())
        began = time()
        await asyncio.sleep(5.0)
        passes.cancel()
        assert [at - began for at in looks] == pytest.approx([0.0, 3.3])

    due = [replace(QUIET, due_in_seconds=each) for each in (3.3, 2.3, 1.3, 0.3)]
    played(Table(*due, QUIET), play, told=[clock.heed])
    assert woken == []


def test_what_was_noted_since_is_not_forgotten_for_a_survey_that_did_not_see_it() -> None:
    looks = list[float]()

    class Due:
        async def due_in(self) -> float:
            looks.append(asyncio.get_running_loop().time())
            return 60.0

        async def publish(self) -> None:
            raise AssertionError("nobody is due")

    epoch = datetime(2027, 1, 1, tzinfo=UTC)

    async def play(surveyor: Surveyor) -> None:
        passes = asyncio.create_task(clock.run_passes())
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.5)
        clock.note(epoch + timedelta(seconds=2.2))
        await asyncio.sleep(4.5)
        passes.cancel()
        assert [at - began for at in looks] == pytest.approx([0.0, 2.7])

    clock = AlarmClock(Due(), look_every=60.0, jitter=lambda: 0.5, now=lambda: epoch)
    played(Table(QUIET), play, told=[clock.heed])


def test_who_has_code_looks_for_runs_that_want_it_only_where_some_do() -> None:
    looks: list[Survey] = []
    answers = [QUIET, replace(QUIET, coded=True), QUIET]

    class Waits:
        async def take_coded(self, codes: Collection[str], *, limit: int) -> list[Redelivery]:
            looks.append(QUIET)
            return []

    watch = CodeWatch(Code(TaskRegistry(), Waits()), lambda hop, done: None)

    async def play(surveyor: Surveyor) -> None:
        passes = asyncio.create_task(watch.run_passes(surveyor))
        await asyncio.sleep(10.5)
        passes.cancel()

    table = Table(*answers)
    played(table, play)
    assert len(table.asked_at) == 11
    assert len(looks) == 1
