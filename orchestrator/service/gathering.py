"""Many who ask at once cost the database one statement.

Who asks while nothing is read has it read at once; who asks meanwhile is in the next reading. So
an answer is never older than its question, and under light load nobody waits for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Gathered(Generic[Key, Value]):
    """Reads by key, together. Belongs to one event loop.

    `read` answers those of the keys that there are. What it raises, all hear whose keys it was
    asked for.
    """

    def __init__(self, read: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._read = read
        self._next: _Reading[Key, Value] | None = None
        self._reader: asyncio.Task[None] | None = None

    async def of(self, *keys: Key) -> Mapping[Key, Value]:
        """What there is of these, as it is now or later."""
        if self._next is None:
            self._next = _Reading()
        reading = self._next
        reading.keys.update(keys)
        if self._reader is None:
            self._reader = asyncio.create_task(self._go())
        # Whoever gives up leaves the others their answer.
        found = await asyncio.shield(reading.answer)
        return {key: found[key] for key in keys if key in found}

    async def _go(self) -> None:
        try:
            while (reading := self._next) is not None:
                self._next = None
                await reading.by(self._read)
        finally:
            self._reader = None


class _Reading(Generic[Key, Value]):
    """What is asked for together, and the answer."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.answer: asyncio.Future[Mapping[Key, Value]] = (
            asyncio.get_running_loop().create_future()
        )

    async def by(self, read: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        try:
            self.answer.set_result(await read(self.keys))
        except asyncio.CancelledError:  # the loop ends
            self.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - told to all who asked
            self.answer.set_exception(error)
            self.answer.exception()  # heard, also where all have given up
