"""Waits that are cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.engine.interrupting import HandOver, Stopped, Waits, running_task

Cut = Callable[[Waits], None]


def stop(waits: Waits) -> None:
    waits.stop()


def hand_over(waits: Waits) -> None:
    waits.hand_over()


def both(waits: Waits) -> None:
    waits.stop()
    waits.hand_over()


async def until_cut(waits: Waits) -> tuple[type[BaseException], int]:
    """How the wait ended, and how often this task is still asked to end."""
    try:
        await waits.until(asyncio.sleep(60))
    except (HandOver, Stopped, asyncio.CancelledError) as cut:
        return type(cut), running_task().cancelling()
    pytest.fail("it was not cut")


@pytest.mark.parametrize(
    ("cut", "expected"), [(stop, Stopped), (hand_over, HandOver), (both, HandOver)]
)
async def test_the_task_that_waited_goes_on(cut: Cut, expected: type[BaseException]) -> None:
    waits = Waits()
    task = asyncio.create_task(until_cut(waits))
    await asyncio.sleep(0)
    cut(waits)
    assert await task == (expected, 0)


async def test_who_is_cancelled_is_cancelled() -> None:
    waits = Waits()
    task = asyncio.create_task(until_cut(waits))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == (asyncio.CancelledError, 1)


async def test_a_cut_meets_one_wait_and_no_later_one() -> None:
    waits = Waits()

    async def twice() -> list[str]:
        ends = []
        for seconds in (60.0, 0.0):
            try:
                await waits.until(asyncio.sleep(seconds))
                ends.append("waited")
            except Stopped:
                ends.append("stopped")
        return ends

    task = asyncio.create_task(twice())
    await asyncio.sleep(0)
    waits.stop()
    assert await task == ["stopped", "waited"]


async def test_what_is_there_already_is_not_lost_to_a_cut() -> None:
    """The waiter has not come to run since it was answered: who waits inside gives it back."""
    waits, answered, given_back = Waits(), asyncio.Event(), list[str]()

    async def answer() -> str:
        try:
            await answered.wait()
        except asyncio.CancelledError:
            given_back.append("it")
            raise
        return "it"

    async def wait() -> str:
        try:
            return await waits.until(answer())
        except HandOver:
            return "handed over"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    answered.set()
    waits.hand_over()
    assert (await task, given_back) == ("handed over", ["it"])


async def test_nobody_begins_to_wait_once_all_is_handed_over() -> None:
    waits = Waits()
    waits.hand_over()
    begun = False

    async def begin() -> None:
        nonlocal begun
        begun = True

    with pytest.raises(HandOver):
        await waits.until(begin())
    assert not begun
