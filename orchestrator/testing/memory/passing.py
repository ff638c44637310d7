"""The way to a database in memory, which a test may lengthen or break."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from orchestrator.testing.memory.tables import MemoryDatabase

T = TypeVar("T")
Moment = Literal["before", "after"]
Line = Callable[[Moment, str], Awaitable[None] | None]
"""Called with the name of the port's method before and after its transaction.

What it returns is awaited (latency). Raising before, nothing was written; raising after, it was
and the caller does not hear of it, as when the answer to a COMMIT is lost.
"""


class Passing:
    """Base of what calls such a database; each call is one transaction."""

    def __init__(self, database: MemoryDatabase, line: Line | None) -> None:
        self.database, self.line = database, line

    async def _pass(self, call: str, work: Callable[[], T]) -> T:
        """The transaction, with the way there and back."""
        if self.line is None:
            return work()
        await _travel(self.line("before", call))
        answer = work()
        await _travel(self.line("after", call))
        return answer


async def _travel(way: Awaitable[None] | None) -> None:
    if way is not None:
        await way
