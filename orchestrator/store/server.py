"""Transactions in PostgreSQL, said to psycopg itself.

Loaded with the first database that is one: psycopg is an extra, which SQLite does without.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from sqlalchemy import TextClause, make_url

from orchestrator.store import codec
from orchestrator.store.dialect import Bulk
from orchestrator.store.transactions import Tx

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]


class ServerTx:
    """A transaction in PostgreSQL. Many rows travel as one JSON parameter."""

    def __init__(self, connection: Connection) -> None:
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


async def run_on_server(
    connection: Connection, begin: str, work: Callable[[Tx], Awaitable[T]]
) -> T:
    """`begin` is empty for a single statement, which is a transaction by itself."""
    tx = ServerTx(connection)
    if not begin:
        return await work(tx)
    await connection.execute(begin.encode())
    try:
        done = await work(tx)
        await connection.execute(b"COMMIT")
    except BaseException:
        try:
            await connection.execute(b"ROLLBACK")
        except Exception:  # noqa: BLE001 - it is gone, and its transaction with it
            await connection.close()
        raise
    return done


def ends_session(error: BaseException) -> bool:
    """Whether the server said goodbye with it, which the driver finds out when it speaks next."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(("08", "57P"))
