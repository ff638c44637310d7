"""Bring a database to the newest schema. Safe when many processes start at once.

Whoever finds the newest revision is through after one SELECT and does not even import Alembic.
Everyone else waits for one lock (an advisory lock in PostgreSQL, a lock file beside SQLite) and
looks again, so that one process migrates and the rest find it done.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.errors import InvalidSetting, Problem, Unavailable
from orchestrator.store.engine import Database, open_database
from orchestrator.store.failures import translated
from orchestrator.store.prebuilding import prebuild

HEAD = "0046"
"""The newest revision in migrations/versions."""

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_SECONDS = 120.0
_ADVISORY_KEY = 4_832_990_120_451_112_003  # arbitrary; the same in every release
_RETRY_SECONDS = 0.05


async def migrate(database_url: str) -> bool:
    """Upgrade to the newest revision; False when it was there already.

    Raises Unavailable, or InvalidSetting when a newer release has migrated the database, or a
    pooler gives the session that migrates to others.
    """
    database = open_database(database_url, pool_size=1)
    try:
        return await _migrate(database)
    finally:
        await database.close()


async def _migrate(database: Database) -> bool:
    with translated(database.where):
        if await _is_at_head(database):
            return False
        async with _alone(database):
            if await _is_at_head(database):
                return False
            await _upgrade(database)
            return True


async def _is_at_head(database: Database) -> bool:
    async with database.engine.connect() as connection:
        try:
            found = (
                await connection.execute(text("SELECT version_num FROM alembic_version"))
            ).all()
        except DBAPIError as error:
            if error.connection_invalidated or not _is_missing_table(error):
                raise
            return False
    return [row[0] for row in found] == [HEAD]


def _is_missing_table(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42P01" or "no such table" in str(error.orig)


async def _upgrade(database: Database) -> None:
    if database.dialect.is_sqlite:
        await _use_write_ahead_log(database)
    else:
        async with database.direct.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await prebuild(connection)
            await connection.invalidate()  # it has no time limit any more
    async with database.engine.connect() as connection:
        if database.dialect.is_sqlite:
            await connection.execution_options(sqlite_begin=database.dialect.begin_writing)
        async with connection.begin():
            await connection.run_sync(_run_alembic, database.where)


async def _use_write_ahead_log(database: Database) -> None:
    """Kept in the file; must be set outside a transaction and while nobody else is connected."""
    async with database.engine.connect() as connection:
        await connection.execution_options(sqlite_begin="")
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _run_alembic(connection: Any, where: str) -> None:
    # Imported here: it costs a tenth of a second, and most starts find nothing to migrate.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above
    from alembic.util import CommandError  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        problem = Problem(
            place=f"database at {where}", found=str(error), wanted=f"revision {HEAD} or older"
        )
        raise InvalidSetting(
            "a newer release has migrated this database", problems=[problem]
        ) from error


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[None]:
    """Hold the migration lock; wait for it no longer than LOCK_SECONDS."""
    if database.dialect.is_sqlite:
        async with _alone_by_file(database):
            yield
        return
    from orchestrator.store.pooler import refuse_shared  # noqa: PLC0415 -- needs psycopg

    await refuse_shared(database.url)
    async with database.engine.connect() as connection:
        await _take_advisory_lock(connection, database.where)
        yield  # closing the connection gives the lock back
        await connection.invalidate()


async def _take_advisory_lock(connection: AsyncConnection, where: str) -> None:
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    take = text("SELECT pg_try_advisory_lock(:key)")
    for _ in range(int(LOCK_SECONDS / _RETRY_SECONDS)):
        if (await connection.execute(take, {"key": _ADVISORY_KEY})).scalar():
            return
        await asyncio.sleep(_RETRY_SECONDS)
    raise _still_locked(where)


@asynccontextmanager
async def _alone_by_file(database: Database) -> AsyncIterator[None]:
    path = Path(f"{database.url.database}.migrating")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(int(LOCK_SECONDS / _RETRY_SECONDS)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_RETRY_SECONDS)
        else:
            raise _still_locked(database.where)
        yield
    finally:
        os.close(handle)


def _still_locked(where: str) -> Unavailable:
    return Unavailable(
        "database", where, f"another process has been migrating it for {LOCK_SECONDS} s"
    )
