"""PostgreSQL's partitions of attempts and audit: made ahead, never in anybody's way, pruned."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from orchestrator.store import open_store
from orchestrator.store.engine import Database, open_database
from orchestrator.store.part import Shared
from orchestrator.store.partitions import (
    TABLES,
    WEEK,
    WEEKS_AHEAD,
    Partitions,
    first_id,
    monday_of,
)
from orchestrator.store.store import SqlStore
from tests.store.making import accepted, attempt, audit, claimed, new_id, write

pytestmark = pytest.mark.postgres


@pytest.fixture
async def database(migrated_postgres_dsn: str) -> AsyncIterator[Database]:
    """A database of its own, since its partitions are changed."""
    opened = open_database(migrated_postgres_dsn, pool_size=3)
    yield opened
    await opened.close()


@pytest.fixture
async def store(database: Database, migrated_postgres_dsn: str) -> AsyncIterator[SqlStore]:
    opened = open_store(migrated_postgres_dsn, pool_size=3)
    yield opened
    await opened.close()


async def drop(database: Database, *names: str) -> None:
    for name in names:
        statement = text(f"DROP TABLE {name}")
        await database.write(lambda tx, drop=statement: tx.change(drop))


async def rows_in(database: Database, name: str) -> int:
    return int((await database.row(text(f"SELECT count(*) FROM {name}")))[0])


def test_ids_sort_by_the_time_of_their_first_id() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=2)
    made = new_id()
    assert first_id(before) < made < first_id(before + timedelta(minutes=1))
    assert first_id(datetime(1970, 1, 1, tzinfo=UTC)) == "00000000-0000"


def test_weeks_begin_on_monday() -> None:
    sunday = datetime(2026, 3, 8, 23, 59, 59, tzinfo=UTC)
    assert monday_of(sunday) == datetime(2026, 3, 2, tzinfo=UTC)
    assert monday_of(sunday + timedelta(seconds=1)) == datetime(2026, 3, 9, tzinfo=UTC)


async def test_a_migrated_database_has_them_for_the_weeks_to_come(database: Database) -> None:
    partitions = Partitions(Shared(database))
    assert await partitions.make() == []
    for table in TABLES:
        found = await partitions.of(table)
        assert [each.low for each in found[1:]] == [each.high for each in found[:-1]]
        assert found[0].low == ""
        ahead = datetime.now(UTC) + WEEK * WEEKS_AHEAD
        assert found[-1].low <= first_id(ahead) < found[-1].high


async def test_what_is_missing_is_made_again(database: Database) -> None:
    partitions = Partitions(Shared(database))
    before = {table: await partitions.of(table) for table in TABLES}
    newest = [before[table][-1].name for table in TABLES]
    await drop(database, *newest)
    assert await partitions.make() == newest
    assert {table: await partitions.of(table) for table in TABLES} == before


async def test_records_of_a_week_that_was_missed_move_out_of_the_default(
    database: Database, store: SqlStore
) -> None:
    partitions = Partitions(Shared(database))
    weeks = [each.name for each in (await partitions.of("audit"))[1:]]
    await drop(database, *weeks)
    runs = await accepted(store, 5)
    assert await rows_in(database, "audit_default") == 5
    assert await partitions.make() == weeks
    assert await rows_in(database, "audit_default") == 0
    assert await rows_in(database, weeks[0]) == 5
    assert [record.seq for record in await store.audit(runs[0].id)] == [1]


async def test_an_id_of_any_other_kind_has_a_place(store: SqlStore, database: Database) -> None:
    insert = text(
        "INSERT INTO audit (run_id, seq, at, kind, actor, data)"
        " VALUES ('zzz', 1, now(), 'k', 'a', '{}')"
    )
    await database.write(lambda tx: tx.change(insert))
    assert await rows_in(database, "audit_default") == 1


async def test_making_does_not_wait_for_writers_nor_keep_them_waiting(
    database: Database, store: SqlStore
) -> None:
    partitions = Partitions(Shared(database))
    name = (await partitions.of("audit"))[-1].name
    await drop(database, name)
    (run,) = await claimed(store)
    async with database.engine.connect() as writing:
        insert = text(
            "INSERT INTO audit (run_id, seq, at, kind, actor, data)"
            " VALUES (:id, 9, now(), 'k', 'a', '{}')"
        )
        await writing.execute(insert, {"id": run.run.id})
        assert await partitions.make() == [name]
        await writing.rollback()


async def test_only_one_process_makes_them(database: Database) -> None:
    partitions = Partitions(Shared(database))
    name = (await partitions.of("audit"))[-1].name
    await drop(database, name)
    async with database.engine.connect() as other:
        await other.execute(text("SELECT pg_advisory_xact_lock(4832990120451112004)"))
        assert await partitions.make() == []
        await other.rollback()
    assert await partitions.make() == [name]


async def test_a_repeated_batch_meets_its_own_rows(store: SqlStore, database: Database) -> None:
    (run,) = await claimed(store)
    batch = [write(run, attempts=(attempt(),), audit=(audit(2), audit(3)))]
    await store.record(batch)
    await store.record(batch)
    assert [record.seq for record in await store.audit(run.run.id)] == [1, 2, 3]
    assert len(await store.attempts(run.run.id)) == 1


@pytest.mark.parametrize("table", TABLES)
async def test_reading_a_run_looks_into_one_partition(
    database: Database, store: SqlStore, table: str
) -> None:
    (run,) = await accepted(store)
    explain = text(f"EXPLAIN SELECT * FROM {table} WHERE run_id = :run_id")
    plan = "\n".join(row[0] for row in await database.rows(explain, run_id=run.id))
    assert set(re.findall(rf"on ({table}_\w+?)(?:_pkey)?\b", plan)) == {_this_week(table)}, plan


def _this_week(table: str) -> str:
    return f"{table}_{monday_of(datetime.now(UTC)):%Y%m%d}"
