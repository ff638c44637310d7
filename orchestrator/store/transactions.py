"""One transaction, the same to its callers on both databases.

Statements go to the driver's connection itself; SQLAlchemy keeps the pool. On PostgreSQL its own
way to the driver takes longer than many a statement. On SQLite each call is one hop to aiosqlite's
thread, where SQLAlchemy's cursor makes four; and many rows go in by `executemany`, ten times as
fast as taking a large JSON parameter apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import aiosqlite
import psycopg
from sqlalchemy import TextClause, make_url

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


class ServerTx:
    """A transaction in PostgreSQL. Many rows travel as one JSON parameter."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        return await (await self._execute(statement, parameters)).fetchall()

    async def row(self, statement: TextClause, **parameters: Any) -> Any:
        return await (await self._execute(statement, parameters)).fetchone()

    async def change(self, statement: TextClause, **parameters: Any) -> int:
        return (await self._execute(statement, parameters)).rowcount

    async def _execute(
        self, statement: TextClause, parameters: dict[str, Any]
    ) -> psycopg.AsyncRawCursor[Any]:
        text, names = _numbered(statement)
        cursor = psycopg.AsyncRawCursor(self._connection)
        return await cursor.execute(text, [parameters[name] for name in names])

    async def apply(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        return await self.change(bulk.statement, batch=codec.dump_batch(rows))


_Psycopg: Any = make_url("postgresql+psycopg://").get_dialect()  # its class takes more options
_PSYCOPG = _Psycopg(paramstyle="numeric_dollar")


@lru_cache(maxsize=2048)
def _numbered(statement: TextClause) -> tuple[bytes, tuple[str, ...]]:
    """With numbered parameters, and their names in order.

    Named ones have psycopg look for them in the text, each time anew where that is long.
    """
    compiled: Any = statement.compile(dialect=_PSYCOPG)  # its places are on SQL compilers only
    return str(compiled).encode(), tuple(compiled.positiontup or ())


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
