"""PostgreSQL behind PgBouncer in transaction mode: found out, refused where it does harm, used."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.embedded.process import stop_all
from orchestrator.errors import InvalidSetting, Unavailable
from orchestrator.service.doctor import Verdict, session_checks
from orchestrator.store import Sessions, SqlStore, migrate, open_store
from orchestrator.store.engine import SET_SESSION, parse_url
from orchestrator.store.failures import StoreFailure
from orchestrator.store.pooler import is_shared
from tests.pgbouncer import start_pgbouncer
from tests.store.backends import locks_of
from tests.store.making import eventually

pytestmark = pytest.mark.postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that PgBouncer reaches after it has given up root."""
    made = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    yield made
    shutil.rmtree(made)


async def test_a_pooler_that_nobody_told_of_is_refused_by_name(
    pooler: str, postgres_url: str
) -> None:
    assert await is_shared(parse_url(pooler))
    assert not await is_shared(parse_url(postgres_url))
    with pytest.raises(InvalidSetting, match="no session with the database") as refused:
        await locks_of(pooler).hold("w1")
    (problem,) = refused.value.problems
    assert problem.place.startswith("setting database_session_url")
    assert pooler.rpartition("@")[2] in problem.found

    stores = [open_store(pooler) for _ in range(2)]
    with pytest.raises(StoreFailure, match="set database_session_url"):
        await _often(stores)
    for each in stores:
        await each.close()


async def test_a_lock_that_was_lost_behind_a_pooler_of_sessions_is_taken_again(
    postgres_dsn: str, folder: Path
) -> None:
    url = postgres_dsn.replace("+psycopg", "")
    child = start_pgbouncer(url, folder, mode="session")
    mine, other = locks_of(child.spec.address), locks_of(url)
    try:
        await mine.hold("w1")
        with psycopg.connect(url, autocommit=True) as link:
            link.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

        async def held() -> bool:
            return await other.free_among(["w1"]) == []

        await asyncio.sleep(0.1)  # until the server has let go of it
        await eventually(held, "the lock is taken again", seconds=5)
    finally:
        await mine.release()
        stop_all([child])


async def test_no_migration_is_locked_through_a_pooler(postgres_dsn: str, folder: Path) -> None:
    child = start_pgbouncer(postgres_dsn.replace("+psycopg", ""), folder)
    try:
        with pytest.raises(InvalidSetting, match="no session with the database"):
            await migrate(child.spec.address)
    finally:
        stop_all([child])


async def test_statements_outlive_the_sessions_that_are_lent(
    pooler: str, postgres_url: str
) -> None:
    stores = [open_store(pooler, shares_sessions=True) for _ in range(3)]
    try:
        await _often(stores)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        for each in stores:
            for _ in range(20):
                try:
                    await each.workers()
                except Unavailable:
                    continue
                break
            else:
                pytest.fail("the store does not find back to the database")
        facts = await stores[0].room()
        assert facts is not None
        assert facts.per_worker == 1, "its lock's; the others are the pooler's"
    finally:
        for each in stores:
            await each.close()


async def _often(stores: list[SqlStore]) -> None:
    """One statement on many connections, more often than the driver sees without preparing it."""
    for _ in range(10):
        await asyncio.gather(*(each.workers() for each in stores for _ in range(4)))


async def test_doctor_says_what_stands_between(
    pooler: str, postgres_url: str, folder: Path
) -> None:
    facts = await Sessions(pooler, "").facts()
    assert facts is not None
    (check,) = session_checks(facts)
    assert check.verdict == Verdict.BAD
    assert "database_url leads to a pooler" in check.found

    facts = await Sessions(postgres_url, pooler).facts()
    assert facts is not None
    assert "database_session_url leads to a pooler" in session_checks(facts)[0].found

    facts = await Sessions(pooler, postgres_url).facts()
    assert facts is not None
    (check,) = session_checks(facts)
    assert (check.verdict, check.found) == (Verdict.GOOD, "lent by a pooler")

    child = start_pgbouncer(postgres_url, folder, connect_query="SET synchronous_commit = off")
    try:
        facts = await Sessions(child.spec.address, postgres_url).facts()
    finally:
        stop_all([child])
    assert facts is not None
    _, check = session_checks(facts)
    assert check.verdict == Verdict.BAD
    assert re.search(r"synchronous_commit is off|statement_timeout is 0", check.found)
    assert SET_SESSION in check.do


async def test_a_pooler_in_session_mode_is_as_good_as_none(postgres_url: str, folder: Path) -> None:
    child = start_pgbouncer(postgres_url, folder, mode="session")
    try:
        assert not await is_shared(parse_url(child.spec.address))
        locks = locks_of(child.spec.address)
        await locks.hold("w1")
        await locks.release()
    finally:
        stop_all([child])


def test_sqlite_has_no_pooler(sqlite_file_url: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        open_store(sqlite_file_url, shares_sessions=True)
    (problem,) = refused.value.problems
    assert problem.found == "SQLite, and a database_session_url"
