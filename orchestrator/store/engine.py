"""One database: connections, transactions, and what each kind of database needs to be told first.

SQLite has one writer at a time, and writers take turns (`turns`). `BEGIN IMMEDIATE` takes its lock
at once, since a transaction that reads first and writes later fails when another has written in
between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

import aiosqlite
from sqlalchemy import TextClause, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from orchestrator.core import chain
from orchestrator.errors import InvalidSetting, Problem, Unavailable
from orchestrator.store.dialect import DIALECTS, Dialect
from orchestrator.store.failures import Repeatable, address, translated
from orchestrator.store.transactions import FileTx, Tx
from orchestrator.store.turns import Turns

if TYPE_CHECKING:
    from orchestrator.store import server

T = TypeVar("T")
Work: TypeAlias = Callable[[Tx], Awaitable[T]]

BUSY_SECONDS = 10.0
"""How long a SQLite writer waits for the other processes' writers."""
CONNECT_SECONDS = 5
MOST_REPEATS = 8

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_SQLITE_SETTINGS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-32000",  # KiB
    # Checkpoint every 32 MiB: hot pages are then copied once for many commits, not for a few.
    "PRAGMA wal_autocheckpoint=8000",
)
SESSION_SETTINGS = {
    "timezone": "UTC",
    "jit": "off",
    "statement_timeout": "1min",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "1min",
    "synchronous_commit": "on",
    # Rows are found by key in pages that are mostly in memory: no scan is to look cheaper.
    "random_page_cost": "1.1",
}
"""What each session with PostgreSQL is told first, in the words in which it repeats them."""
SET_SESSION = "; ".join(f"SET {key} = '{value}'" for key, value in SESSION_SETTINGS.items())


class _InHand(NamedTuple):
    """A connection to PostgreSQL as the pool has it, and as its driver has it."""

    pooled: AsyncConnection
    driver: server.Connection


class Database:
    """A database, and how its statements get there.

    On PostgreSQL the pool is that of `direct`: its connections commit each statement, and
    transactions are begun and ended in words, said to the driver itself. What SQLAlchemy does for a
    statement takes longer than the statement. For the same reason one connection stays in hand
    (`_warm`). `engine` is for those who need SQLAlchemy's transactions: migrations.
    """

    def __init__(
        self, url: URL, engine: AsyncEngine, direct: AsyncEngine, dialect: Dialect
    ) -> None:
        self.url = url
        self.where = address(url)
        self.shares_sessions = False  # through a pooler, which lends them for a transaction
        self.engine = engine
        self.dialect = dialect
        self.direct = direct
        self._warm: _InHand | None = None
        self._has_lost_one = False  # a connection, so that none in the pool is trusted
        self._turns = Turns(Path(str(url.database)))  # of SQLite's writers
        self._under_way: set[asyncio.Task[Any]] = set()

    async def rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        """All rows of one reading statement. Raises Unavailable."""
        return await self._to_its_end(self.answer("", _all(statement, parameters)))

    async def row(self, statement: TextClause, **parameters: Any) -> Any:
        """Its first row, or None. Raises Unavailable."""
        found = await self.rows(statement, **parameters)
        return found[0] if found else None

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot of the database. Raises Unavailable."""
        return await self._to_its_end(self.answer(self.dialect.begin_reading, work))

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction; whole again after a deadlock. Raises Unavailable."""
        return await self._to_its_end(self._write(self.dialect.begin_writing, work))

    async def write_rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        """All rows of one writing statement, a transaction of its own. Raises Unavailable."""
        begin = self.dialect.begin_writing if self.dialect.is_sqlite else ""
        return await self._to_its_end(self._write(begin, _all(statement, parameters)))

    async def close(self) -> None:
        """Wait for what is under way and return all connections."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self.disconnect()
        self._turns.close()

    async def disconnect(self) -> None:
        """Close all connections; the next statement makes a new one."""
        warm = self._take_warm()
        if warm is not None:
            await warm.pooled.close()
        await self.engine.dispose()
        await self.direct.dispose()

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        """A cancelled caller goes at once; its transaction is ended in the background.

        Cut off in the middle, SQLite's driver leaves a connection behind that holds the lock.
        """
        task = asyncio.create_task(transaction)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def answer(self, begin: str, work: Work[T]) -> T:
        """Run reading `work`, begun in these words. What all that reads comes down to."""
        with translated(self.where):
            return await self._run(begin, work)

    async def _write(self, begin: str, work: Work[T]) -> T:
        for repeat in range(MOST_REPEATS):
            try:
                with translated(self.where):
                    if not self.dialect.is_sqlite:
                        return await self._run(begin, work)
                    async with self._turns.mine():
                        return await self._run(begin, work)
            except Repeatable as lost:
                why = str(lost)
                # The two that met must not meet again at once.
                await asyncio.sleep(random.uniform(0.0, 0.01 * 2**repeat))  # noqa: S311 - no secret
        raise Unavailable("database", self.where, f"{MOST_REPEATS} times in a row: {why}")

    async def _run(self, begin: str, work: Work[T]) -> T:
        """`begin` is empty for a single statement, which is a transaction by itself."""
        if self.dialect.is_sqlite:
            async with self.direct.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                return await _run_in_file(cast("aiosqlite.Connection", raw), begin, work)
        server = _server()
        held = self._take_warm() or await self._take()
        try:
            done: T = await server.run_on_server(held.driver, begin, work)
        except BaseException as error:
            await self._return(held, is_lost=held.driver.closed or server.ends_session(error))
            raise
        if self._warm is None:
            self._warm = held
        else:
            await held.pooled.close()
        return done

    def _take_warm(self) -> _InHand | None:
        held, self._warm = self._warm, None
        return held

    async def _take(self) -> _InHand:
        """From the pool; none of those that were there when one was lost."""
        pooled = await self.direct.connect()
        driver = (await pooled.get_raw_connection()).driver_connection
        return _InHand(pooled, cast("server.Connection", driver))

    async def _return(self, held: _InHand, *, is_lost: bool) -> None:
        if is_lost:
            self._has_lost_one = True
            await held.pooled.invalidate()
        await held.pooled.close()

    def distrust(self, *_: Any) -> None:
        """When a connection leaves the pool: whoever lost one could not tell the pool."""
        if self._has_lost_one:
            self._has_lost_one = False
            raise InvalidatePoolError


@cache
def _server() -> ModuleType:
    """Loaded with the first statement to PostgreSQL: psycopg is an extra."""
    from orchestrator.store import server  # noqa: PLC0415 - needs psycopg

    return server


async def _run_in_file(connection: aiosqlite.Connection, begin: str, work: Work[T]) -> T:
    if not begin:
        return await work(FileTx(connection, _microseconds()))
    await connection.execute(begin)
    try:
        # The clock is read when the lock is there: what waited for it is not older than its writes.
        done = await work(FileTx(connection, _microseconds()))
        await connection.commit()
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back after a full disk
            await connection.rollback()
        raise
    return done


def _microseconds() -> int:
    return time.time_ns() // 1000


def _all(statement: TextClause, parameters: dict[str, Any]) -> Work[Sequence[Any]]:
    return lambda tx: tx.rows(statement, **parameters)


def open_database(
    database_url: str,
    *,
    pool_size: int = 5,
    pool_wait_seconds: float = 10.0,
    shares_sessions: bool = False,
) -> Database:
    """Connects lazily. Raises InvalidSetting for what is no SQLite file or PostgreSQL.

    `shares_sessions`: a pooler lends sessions for one transaction, so nothing is left in them.
    """
    url = parse_url(database_url)
    dialect = DIALECTS[url.get_backend_name()]
    if shares_sessions and dialect.is_sqlite:
        raise _unusable(
            "SQLite, and a database_session_url", "no database_session_url: it has no pooler"
        )
    if dialect.is_sqlite:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": pool_wait_seconds,
        "pool_use_lifo": True,  # the one that is warm, whose statements are prepared
        "hide_parameters": True,  # payloads stay out of error texts
        "connect_args": _connect_arguments(dialect, shares_sessions=shares_sessions),
    }
    if dialect.is_sqlite:
        engine = direct = create_async_engine(url, pool_reset_on_return=None, **options)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    else:
        engine = create_async_engine(url, **options)
        direct = create_async_engine(
            url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **options
        )
    if not shares_sessions:
        for each in {engine, direct}:
            event.listen(each.sync_engine, "connect", _on_connect(dialect))
    database = Database(url, engine, direct, dialect)
    database.shares_sessions = shares_sessions
    event.listen(direct.sync_engine, "checkout", database.distrust)
    return database


def parse_url(database_url: str) -> URL:
    """The address with its driver filled in. Raises InvalidSetting."""
    wanted = "sqlite:///path/to/file.db or postgresql://user:password@host:port/database"
    try:
        url = make_url(database_url.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        raise _unusable("no database URL", wanted) from None
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise _unusable(f"a database of kind {backend!r}", wanted)
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise _unusable("a database in memory", f"{wanted}; several processes share it")
    return url.set(drivername=_DRIVERS[backend])


def _unusable(found: str, wanted: str) -> InvalidSetting:
    problem = Problem(place="setting database_url", found=found, wanted=wanted)
    return InvalidSetting("the database cannot be used", problems=[problem])


def _connect_arguments(dialect: Dialect, *, shares_sessions: bool) -> dict[str, Any]:
    if dialect.is_sqlite:
        # None: the driver begins no transaction by itself; `_begin_sqlite` does.
        return {"timeout": BUSY_SECONDS, "isolation_level": None}
    # A peer that vanished without a word is noticed within about ten seconds.
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    # A statement is prepared in one session, and the next transaction may have another.
    return arguments | ({"prepare_threshold": None} if shares_sessions else {})


def _on_connect(dialect: Dialect) -> Callable[[Any, Any], None]:
    settings = _SQLITE_SETTINGS if dialect.is_sqlite else (SET_SESSION,)

    def prepare(dbapi_connection: Any, _record: Any) -> None:
        if dialect.is_sqlite:
            _add_functions(dbapi_connection)
        cursor = dbapi_connection.cursor()
        for setting in settings:
            cursor.execute(setting)
        cursor.close()
        if not dialect.is_sqlite:
            dbapi_connection.commit()

    return prepare


def _add_functions(dbapi_connection: Any) -> None:
    """What PostgreSQL has by itself: the hashing of an audit's chain."""
    dbapi_connection.create_function("audit_link", 3, _link, deterministic=True)
    dbapi_connection.create_function("audit_entry", 2, _entry, deterministic=True)


def _link(head: bytes | None, run_id: str, entries: str) -> bytes:
    return chain.link(head, run_id, bytes.fromhex(entries))


def _entry(at: int, said: str) -> str:
    return chain.entry(at, bytes.fromhex(said)).hex()


def _begin_sqlite(connection: Any) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)
