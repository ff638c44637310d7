"""Many callers, one round trip: whatever arrives while a batch is under way forms the next one.

This is group commit. It needs no timer: under light load a batch holds one item and waits for
nothing, under heavy load it grows to what the database or broker can take.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports.metering import UNMETERED, Meter

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_Batch = list[tuple[Item, "asyncio.Future[Answer]"]]

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class Batcher(Generic[Item, Answer]):
    """Gathers items into batches for `perform`, one batch at a time, in order of arrival.

    `perform` answers one value for each item. When it raises Unavailable the same batch is tried
    again for ever (its items are repeatable by contract). After any other error each item is tried
    alone, so that the error goes only to the callers whose items cause it.

    `abandonable`: items whose callers were cancelled before their batch began are left out.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        name: str,
        largest: int,
        abandonable: bool = False,
        meter: Meter = UNMETERED,
    ) -> None:
        self._perform = perform
        self._name = name
        self._abandonable = abandonable
        self._largest = largest
        self._meter = meter
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The answer for this item once its batch is through.

        A cancelled caller's item is still performed, unless it is `abandonable` and has not begun.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"batcher-{self._name}")
        return await future

    async def close(self) -> None:
        """Wait until nothing is under way."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = min(len(self._waiting), self._largest)
                await self._settle([self._waiting.popleft() for _ in range(size)])
        finally:
            self._task = None

    async def _settle(self, batch: _Batch[Item, Answer]) -> None:
        try:
            batch, answers = await self._until_available(batch)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            log.exception("batch.split", batch=self._name, items=len(batch))
            for pair in batch:
                await self._settle([pair])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _until_available(
        self, batch: _Batch[Item, Answer]
    ) -> tuple[_Batch[Item, Answer], Sequence[Answer]]:
        """The items that were performed after all, and their answers."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            if self._abandonable:
                batch = [pair for pair in batch if not pair[1].cancelled()]
            try:
                return batch, await self._timed(batch) if batch else []
            except Unavailable as error:
                log.warning("batch.postponed", batch=self._name, items=len(batch), why=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _timed(self, batch: _Batch[Item, Answer]) -> Sequence[Answer]:
        begun_at = time.monotonic()
        answers = await self._perform([item for item, _ in batch])
        self._meter.batched(self._name, len(batch), time.monotonic() - begun_at)
        return answers


def _fail(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
