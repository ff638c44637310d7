"""What is old and final goes, with all that belongs to it; everything else stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import NotFound
from orchestrator.ports import JobOrder, NewJob, RunFilter
from orchestrator.ports.retention import Retired
from orchestrator.service.retention import Retention, Upkeep
from orchestrator.store import migrate, open_store, partitions
from orchestrator.store.engine import Database, open_database
from orchestrator.store.partitions import first_id
from orchestrator.store.store import SqlStore
from tests.store.ageing import (
    DAY,
    OLD_DAYS,
    claimed_of,
    ended,
    id_of,
    left,
    run_sql,
    settled_then,
)
from tests.store.making import (
    ME,
    attempt,
    audit,
    new_run,
    published,
    registered,
    write,
)

TABLES = ("runs", "run_steps", "attempts", "audit", "escalations")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def fresh_url(request: pytest.FixtureRequest) -> str:
    """Asked for outside of a loop: the template that it may be copied from is made in its own."""
    name = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_dsn"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def database(fresh_url: str) -> AsyncIterator[Database]:
    """A database of its own, since its partitions are dropped."""
    opened = await opened_at(fresh_url)
    yield opened
    await opened.close()


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlStore]:
    opened = open_store(database.url.render_as_string(hide_password=False), pool_size=3)
    yield opened
    await opened.close()


async def opened_at(url: str) -> Database:
    """Migrated as if that had been 92 days ago: the first partition ends there."""
    await migrate(url)
    database = open_database(url, pool_size=3)
    end = first_id(datetime.now(UTC) - timedelta(days=92))
    for table in () if database.dialect.is_sqlite else ("audit", "attempts"):
        await run_sql(database, f"DROP TABLE {table}_before")
        bounds = f"FROM (MINVALUE) TO ('{end}')"
        name = f"{table}_before PARTITION OF {table}"
        await run_sql(database, f"CREATE TABLE {name} FOR VALUES {bounds}")
    return database


async def retire(store: SqlStore, days: float = 90) -> Retired:
    return await Retention(store).retire(older_than=timedelta(days=days), by="me")


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_an_old_final_run_goes_with_all_its_rows(
    store: SqlStore, database: Database, status: RunStatus
) -> None:
    (run_id,) = await ended(store, database, status)
    gone = await retire(store)
    assert (gone.runs, gone.steps) == (1, 1)
    assert [await left(database, table) for table in TABLES] == [0] * len(TABLES)
    with pytest.raises(NotFound):
        await store.run(run_id)
    if database.dialect.is_sqlite:
        assert (gone.attempts, gone.audit, gone.partitions) == (1, 2, ())
    else:
        assert gone.partitions == ("audit_before", "attempts_before")
    assert not await retire(store)


async def test_what_is_young_or_not_final_stays(store: SqlStore, database: Database) -> None:
    young = await ended(store, database, RunStatus.SUCCEEDED, days_ago=80)
    late = await ended(store, database, RunStatus.SUCCEEDED)
    await settled_then(database, late, 80)
    kept = [*young, *late]
    for status in (RunStatus.ESCALATED, RunStatus.PAUSED, RunStatus.WAITING, RunStatus.RUNNING):
        kept += await ended(store, database, status)
    kept += [run.run.id for run in await claimed_of(store, 1, days_ago=OLD_DAYS)]
    await retire(store)
    assert await left(database, "runs") == len(kept)
    for run_id in kept[:-1]:
        assert [record.seq for record in await store.audit(run_id)] == [1, 2]
        assert len(await store.attempts(run_id)) == 1
        assert (await store.steps(run_id))[0].forward.outputs == {"id": "o-1"}
    assert len(await store.audit(kept[-1])) == 1
    assert await left(database, "escalations") == 1


async def test_a_final_run_with_an_open_escalation_stays(
    store: SqlStore, database: Database
) -> None:
    (run_id,) = await ended(store, database, RunStatus.ESCALATED)
    abandon = text("UPDATE runs SET status = 'abandoned' WHERE id = :id")
    await database.write(lambda tx: tx.change(abandon, id=run_id))
    assert (await retire(store)).runs == 0
    close = text("UPDATE escalations SET closed_at = opened_at")
    await database.write(lambda tx: tx.change(close))
    gone = await retire(store)
    assert (gone.runs, gone.escalations) == (1, 1)


async def test_a_batch_is_bounded_and_takes_the_oldest(store: SqlStore, database: Database) -> None:
    newer = await ended(store, database, RunStatus.SUCCEEDED, count=3, days_ago=95)
    older = await ended(store, database, RunStatus.SUCCEEDED, count=3, days_ago=99)
    gone = await store.retire_runs(older_than_seconds=90 * DAY, limit=4)
    assert gone.runs == 4
    rows = await database.rows(text("SELECT id FROM runs ORDER BY id"))
    assert [row[0] for row in rows] == sorted(newer)[1:]
    assert not set(older) & {row[0] for row in rows}


async def test_its_key_may_be_used_again(store: SqlStore, database: Database) -> None:
    version = await published(store)
    first = new_run(version, id=id_of(OLD_DAYS), idempotency_key="once")
    await store.accept([first])
    await registered(store, ME)
    (run,) = await store.claim([(first.id, 0)], owner=ME)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True)])
    again = new_run(version, idempotency_key="once")
    assert (await store.accept([again]))[0].run_id == first.id
    await settled_then(database, [first.id], OLD_DAYS)
    await retire(store)
    assert (await store.accept([again]))[0].run_id == again.id


async def test_a_dry_run_says_what_goes_and_deletes_nothing(
    store: SqlStore, database: Database
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=3)
    await ended(store, database, RunStatus.ESCALATED)
    before = [await left(database, table) for table in TABLES]
    said = await Retention(store).expired(older_than=timedelta(days=90))
    assert [await left(database, table) for table in TABLES] == before
    gone = await retire(store)
    assert (said.runs, said.partitions) == (gone.runs, gone.partitions) == (3, gone.partitions)


async def test_an_escalated_run_goes_on_after_its_partition_is_dropped(
    store: SqlStore, database: Database
) -> None:
    (escalated,) = await ended(store, database, RunStatus.ESCALATED)
    await ended(store, database, RunStatus.SUCCEEDED, count=5)
    await retire(store)
    (opened,) = await store.escalations()
    await store.claim_escalation(opened.id, by="ada")
    assert [record.seq for record in await store.audit(escalated)] == [1, 2, 3]
    assert await left(database, "audit") == 3


async def test_several_at_once_delete_each_run_once_while_others_work(
    store: SqlStore, database: Database
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED, count=60)
    working = await claimed_of(store, 20, days_ago=OLD_DAYS)

    async def work() -> None:
        for number in range(1, 30):
            batch = [
                write(run, number=number, audit=(audit(1 + number),), attempts=(attempt(),))
                for run in working
            ]
            assert None not in await store.record(batch)

    async def delete() -> int:
        count = 0
        while gone := await store.retire_runs(older_than_seconds=90 * DAY, limit=7):
            count += gone.runs
            await store.retire_partitions(older_than_seconds=90 * DAY)
        await store.retire_partitions(older_than_seconds=90 * DAY)
        return count

    _, first, second = await asyncio.gather(work(), delete(), delete())
    assert first + second == 60
    assert await left(database, "runs") == 20
    for run in working:
        numbers = [record.seq for record in await store.audit(run.run.id)]
        assert numbers == list(range(1, 31))
        assert len(await store.attempts(run.run.id)) == 29


@pytest.mark.postgres
async def test_a_busy_table_is_left_to_the_next_time(
    migrated_postgres_dsn: str,
) -> None:
    store, database = open_store(migrated_postgres_dsn), await opened_at(migrated_postgres_dsn)
    await ended(store, database, RunStatus.SUCCEEDED)
    async with database.engine.connect() as reading:
        await reading.execute(text("SELECT count(*) FROM audit"))
        gone = await retire(store)
        assert gone.partitions == ("attempts_before",)
        await reading.rollback()
    assert (await retire(store)).partitions == ("audit_before",)
    await database.close()
    await store.close()


@pytest.mark.postgres
async def test_a_partition_of_many_kept_runs_loses_the_rows_of_the_others(
    migrated_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 2)
    store, database = open_store(migrated_postgres_dsn), await opened_at(migrated_postgres_dsn)
    kept = await ended(store, database, RunStatus.ESCALATED, count=3)
    await ended(store, database, RunStatus.SUCCEEDED, count=4)
    gone = await retire(store)
    assert (gone.runs, gone.audit, gone.attempts, gone.partitions) == (4, 8, 4, ())
    for run_id in kept:
        assert len(await store.audit(run_id)) == 2
    await database.close()
    await store.close()


async def test_upkeep_makes_partitions_and_deletes_what_is_older_than_set(
    store: SqlStore, database: Database
) -> None:
    await ended(store, database, RunStatus.SUCCEEDED)
    await Upkeep(store, keep_for=None).one_pass()
    assert await left(database, "runs") == 1
    await Upkeep(store, keep_for=timedelta(days=101)).one_pass()
    assert await left(database, "runs") == 1
    await Upkeep(store, keep_for=timedelta(days=99)).one_pass()
    assert await left(database, "runs") == 0


async def job_that(
    store: SqlStore, database: Database, runs: Sequence[str], *, ended_days_ago: float | None
) -> str:
    """A job on these runs that was accepted long ago, and has ended then if it has."""
    which = RunFilter(ids=tuple(runs))
    new = NewJob(
        id=id_of(OLD_DAYS), kind="runs.cancel", tenant=None, where={}, arguments={}, by="me",
        reason="why", key=None,
    )  # fmt: skip
    job = await store.add_job(new, which)
    if ended_days_ago is not None:
        await store.order_job(job.id, JobOrder.CANCEL, by="me", reason="enough")
        at = database.dialect.later(database.dialect.words["now"], f"-{ended_days_ago * DAY}")
        then = text(f"UPDATE jobs SET ended_at = {at} WHERE id = :id")
        await database.write(lambda tx: tx.change(then, id=job.id))
    return job.id


async def test_old_jobs_go_with_their_things_a_bounded_number_at_once(
    store: SqlStore, database: Database
) -> None:
    runs = [run.run.id for run in await claimed_of(store, 5, days_ago=1)]
    old = [await job_that(store, database, runs, ended_days_ago=days) for days in (99, 98)]
    young = await job_that(store, database, runs, ended_days_ago=80)
    running = await job_that(store, database, runs, ended_days_ago=None)
    assert (await Retention(store).expired(older_than=timedelta(days=90))).jobs == 2
    steps = [await store.retire_jobs(older_than_seconds=90 * DAY, limit=4) for _ in range(4)]
    assert [(each.jobs, each.job_items) for each in steps] == [(0, 4), (1, 4), (1, 2), (0, 0)]
    assert await left(database, "job_items") == 10
    assert {each.id for each in await store.jobs()} == {young, running}
    for gone in old:
        with pytest.raises(NotFound):
            await store.job(gone)


async def test_old_jobs_go_by_themselves_beside_runs(store: SqlStore, database: Database) -> None:
    runs = await ended(store, database, RunStatus.SUCCEEDED, count=2)
    await job_that(store, database, runs, ended_days_ago=99)
    gone = await retire(store)
    assert (gone.runs, gone.jobs, gone.job_items) == (2, 1, 2)
    assert await left(database, "jobs") == 0
    assert not await retire(store)
