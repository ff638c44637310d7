"""Many callers, one round trip: whatever arrives while a batch is under way forms the next one.

This is group commit. It needs no timer: under light load a batch holds one item and waits for
nothing, under heavy load it grows to what the database or broker can take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from orchestrator.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class Batcher(Generic[Item, Answer]):
    """Gathers items into batches for `perform`, one batch at a time, in order of arrival.

    `perform` answers one value for each item. When it raises Unavailable the same batch is tried
    again for ever (its items are repeatable by contract); any other error goes to all its callers.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        name: str,
        largest: int,
    ) -> None:
        self._perform = perform
        self._name = name
        self._largest = largest
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The answer for this item once its batch is through.

        A cancelled caller's item is still performed: it may be under way already.
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
                batch = [self._waiting.popleft() for _ in range(size)]
                await self._settle(batch)
        finally:
            self._task = None

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._until_available([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _until_available(self, items: Sequence[Item]) -> Sequence[Answer]:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._perform(items)
            except Unavailable as error:
                log.warning("batch.postponed", batch=self._name, items=len(items), why=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
