"""Group commit: one bad write fails alone, a server that is away fails nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator.engine import batching
from orchestrator.engine.batching import Batcher
from orchestrator.errors import Unavailable


class Ledger:
    """Records batches; refuses negative numbers, and is away as often as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.away = 0
        self.go = asyncio.Event()
        self.go.set()

    async def perform(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.go.wait()
        if self.away:
            self.away -= 1
            raise Unavailable("ledger", "here", "a test")
        if min(items) < 0:
            raise ValueError("negative")
        return [item * 10 for item in items]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FIRST_PAUSE_SECONDS", 0.0)


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.perform, name="test", largest=3)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(6))) == [
        0, 10, 20, 30, 40, 50,
    ]  # fmt: skip
    assert ledger.batches == [[0, 1, 2], [3, 4, 5]]


async def test_one_bad_item_fails_alone() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.perform, name="test", largest=10)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (1, -2, 3)), return_exceptions=True)
    assert answers[0] == 10
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 30


async def test_an_absent_server_fails_nobody() -> None:
    ledger = Ledger()
    ledger.away = 3
    batcher = Batcher(ledger.perform, name="test", largest=10)
    assert await asyncio.gather(*(batcher.submit(n) for n in (1, 2))) == [10, 20]
    assert ledger.batches == [[1, 2]] * 4


@pytest.mark.parametrize("abandonable", [True, False])
async def test_items_of_callers_that_are_gone(abandonable: bool) -> None:
    ledger = Ledger()
    ledger.go.clear()
    batcher = Batcher(ledger.perform, name="test", largest=1, abandonable=abandonable)
    callers = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    callers[1].cancel()
    await asyncio.sleep(0)
    ledger.go.set()
    assert await callers[2] == 30
    await batcher.close()
    assert ledger.batches == ([[1], [3]] if abandonable else [[1], [2], [3]])
