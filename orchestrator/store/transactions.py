"""One transaction, the same to its callers on both databases.

Statements go to the driver's connection itself; SQLAlchemy keeps the pool. On PostgreSQL (see
`server`) its own way to the driver takes longer than many a statement. On SQLite each call is one
hop to aiosqlite's thread, where SQLAlchemy's cursor makes four; and many rows go in by
`executemany`, ten times as fast as taking a large JSON parameter apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import aiosqlite
from sqlalchemy import TextClause

from orchestrator.store import codec
from orchestrator.store.dialect import Bulk


class Tx(Protocol):
    """Runs statements; they take named parameters, and values are plain (text, numbers, times)."""

    async def rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        """All rows of the answer."""

    async def row(self, statement: TextClause, **parameters: Any) -> Any:
        """The first row, or None."""

    async def change(self, statement: TextClause, **parameters: Any) -> int:
        """The number of rows touched."""

    async def apply(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        """The number of rows touched by a statement for each of many rows; none are none."""


class FileTx:
    """A transaction in SQLite. `now`: microseconds since 1970, the same for all its statements."""

    def __init__(self, connection: aiosqlite.Connection, now: int) -> None:
        self._connection, self._now = connection, now

    async def rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        parameters["now"] = self._now
        return list(await self._connection.execute_fetchall(statement.text, parameters))

    async def row(self, statement: TextClause, **parameters: Any) -> Any:
        found = await self.rows(statement, **parameters)
        return found[0] if found else None

    async def change(self, statement: TextClause, **parameters: Any) -> int:
        parameters["now"] = self._now
        return (await self._connection.execute(statement.text, parameters)).rowcount

    async def apply(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        given = [(*row, self._now) for row in rows] if bulk.takes_now else rows
        try:
            done = await self._connection.executemany(bulk.statement.text, given)
        except UnicodeEncodeError:  # nothing has been bound yet of the row that has it
            cleaned = codec.cleaned(given)
            done = await self._connection.executemany(bulk.statement.text, cleaned)
        return done.rowcount
