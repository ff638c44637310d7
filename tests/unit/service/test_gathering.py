"""Questions that come together are one reading; those that come meanwhile are the next."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from orchestrator.errors import Unavailable
from orchestrator.service.gathering import Gathered


class Source:
    """Answers once it is let; knows all but 0."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.begun, self.may = asyncio.Event(), asyncio.Event()
        self.failure: Exception | None = None

    async def read(self, keys: Collection[int]) -> Mapping[int, str]:
        self.asked.append(set(keys))
        self.begun.set()
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return {key: f"{key} in reading {len(self.asked)}" for key in keys if key}


async def test_who_asks_together_is_read_together_and_who_comes_later_is_read_anew() -> None:
    source = Source()
    gathered = Gathered(source.read)
    first = [asyncio.create_task(gathered.of(key)) for key in (1, 2, 2, 0)]
    await source.begun.wait()
    later = [asyncio.create_task(gathered.of(*keys)) for keys in ((2,), (2, 3))]
    await asyncio.sleep(0)
    assert source.asked == [{0, 1, 2}]  # nobody else is read beside it
    source.may.set()
    one, two, same, nothing = await asyncio.gather(*first)
    assert (one, nothing) == ({1: "1 in reading 1"}, {})
    assert two == same == {2: "2 in reading 1"}
    # What was asked while it was read is not answered by what was read before it was asked.
    assert await asyncio.gather(*later) == [
        {2: "2 in reading 2"}, {2: "2 in reading 2", 3: "3 in reading 2"}
    ]  # fmt: skip
    assert source.asked == [{0, 1, 2}, {2, 3}]
    assert await gathered.of(1) == {1: "1 in reading 3"}


async def test_all_who_asked_hear_of_a_failure_and_the_next_is_read_again() -> None:
    source = Source()
    source.failure = Unavailable("database", "somewhere", "gone")
    source.may.set()
    gathered = Gathered(source.read)
    heard = await asyncio.gather(gathered.of(1), gathered.of(2), return_exceptions=True)
    assert heard == [source.failure, source.failure]
    source.failure = None
    assert await gathered.of(1) == {1: "1 in reading 2"}


async def test_who_gives_up_takes_nobodys_answer_away() -> None:
    source = Source()
    gathered = Gathered(source.read)
    impatient, patient = (asyncio.create_task(gathered.of(key)) for key in (1, 2))
    await source.begun.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    source.may.set()
    assert await patient == {2: "2 in reading 1"}
