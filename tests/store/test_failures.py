"""What goes wrong at the database: told as Unavailable, without secrets, nothing half-written."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from orchestrator.errors import InvalidSetting, Overloaded, Unavailable
from orchestrator.ports import Store
from orchestrator.store import migrate, open_store
from orchestrator.store.engine import open_database
from orchestrator.store.failures import StoreFailure
from tests.store.making import (
    ME,
    accepted,
    attempt,
    audit,
    begun,
    claimed,
    eventually,
    landed,
    new_run,
    published,
    registered,
    write,
)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_that_is_not_there() -> None:
    url = f"postgresql://ada:s3cret@127.0.0.1:{closed_port()}/orders?application_name=s3cret"
    store = open_store(url)
    for call in (store.now(), store.claim([("a", 0)], owner=ME), migrate(url), store.workers()):
        with pytest.raises(Unavailable) as failed:
            await call
        assert failed.value.where.endswith("/orders")
        assert "s3cret" not in str(failed.value) + repr(failed.value)
    await store.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "not a url", ""])
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidSetting, match="wanted sqlite:///path"):
        open_store(url)


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    threads = threading.active_count()
    store = open_store(f"sqlite:///{tmp_path}")
    with pytest.raises(Unavailable, match=str(tmp_path)):
        await store.now()
    await store.close()

    async def has_ended() -> bool:
        return threading.active_count() <= threads

    await eventually(has_ended, "the driver's thread, which nobody waits for, has ended")


async def test_tables_that_are_missing(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with pytest.raises(Unavailable, match="migrate it first"):
        await store.workers()
    await store.close()


@pytest.mark.postgres
async def test_tables_that_are_missing_in_postgresql(postgres_dsn: str) -> None:
    store = open_store(postgres_dsn)
    with pytest.raises(Unavailable, match="migrate it first"):
        await store.workers()
    await store.close()


async def test_a_statement_that_the_database_refuses(url: str) -> None:
    database = open_database(url)
    with pytest.raises(StoreFailure, match="nonsense"):
        await database.rows(text("SELECT nonsense FROM runs"))
    await database.close()


async def test_a_locked_file(sqlite_file_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.engine.BUSY_SECONDS", 0.1)
    store = open_store(sqlite_file_url)
    (run,) = await claimed(store)
    beside = sqlite3.connect(sqlite_file_url.removeprefix("sqlite:///"), isolation_level=None)
    beside.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        await store.record([write(run, cause="new")])
    assert (await store.run(run.run.id)).cause == ""  # readers are not held up
    beside.execute("ROLLBACK")
    beside.close()
    assert await store.record([write(run, cause="new")]) != [None]
    await store.close()


async def test_a_full_disk_writes_nothing_and_passes(sqlite_file_url: str) -> None:
    store = open_store(sqlite_file_url)
    version = await published(store)
    full = True

    def limit(connection: Any, _record: Any, _proxy: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={80 if full else 100_000}")
        cursor.close()

    event.listen(store._database.engine.sync_engine.pool, "checkout", limit)
    with pytest.raises(Unavailable, match="full"):
        await store.accept([new_run(version, inputs={"x": "y" * 1000}) for _ in range(500)])
    full = False
    assert await store.count_by_status() == {}
    await store.accept([new_run(version)])
    await store.close()


async def test_an_exhausted_pool_is_a_bounded_wait(url: str) -> None:
    store = open_store(url, pool_size=1, pool_wait_seconds=0.1)
    engine = store._database.direct
    async with engine.connect(), engine.connect():
        with pytest.raises(Overloaded, match="all connections") as refused:
            await store.now()
    assert refused.value.retry_after_seconds > 0
    await store.now()
    await store.close()


async def test_a_cancelled_caller_leaves_the_store_usable(store: Store) -> None:
    runs = await claimed(store, 50)
    for number in range(20):
        given = [write(run, number=number) for run in runs]
        task = asyncio.create_task(store.record(given))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert None not in await store.record([write(run, number=20, cause="after") for run in runs])
    assert (await store.run(runs[0].run.id)).cause == "after"


@pytest.mark.postgres
async def test_terminated_connections_are_replaced(postgres_url: str) -> None:
    store = open_store(postgres_url)
    await accepted(store)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(Unavailable):
        await store.count_by_status()
    assert len(await store.count_by_status()) == 1
    await store.close()


@pytest.mark.postgres
async def test_of_many_terminated_connections_one_is_missed(postgres_url: str) -> None:
    """Whoever finds the first of them broken has all others of the pool replaced."""
    store = open_store(postgres_url, pool_size=4)

    async def use_all() -> list[object]:
        """Four at once, so that each has a connection of its own."""
        asleep = store._database.dialect.sql("SELECT pg_sleep(0.05)")
        each = (store._database.row(asleep) for _ in range(4))
        return list(await asyncio.gather(*each, return_exceptions=True))

    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        there = await admin.execute("SELECT array_agg(pid) FROM pg_stat_activity")
        (others,) = await there.fetchone() or ([],)  # a pooler's among them
        await use_all()
        ended = await admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> ALL(%s)", (others,),
        )  # fmt: skip
        assert await ended.fetchone() == (4,)
    with pytest.raises(Unavailable):
        await store.count_by_status()
    assert not [found for found in await use_all() if isinstance(found, Exception)]
    await store.close()


@pytest.mark.postgres
async def test_a_deadlocked_batch_is_repeated_whole(postgres_url: str) -> None:
    """The other session takes our rows the other way round; PostgreSQL ends the one that waits."""
    store = open_store(postgres_url)
    first, second = await claimed(store, 2)
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute("SET deadlock_timeout = '60s'")  # so that ours is the one that ends
        lock = "SELECT 1 FROM runs WHERE id = %s FOR UPDATE"
        await other.execute(lock, [second.run.id])
        batch = [write(run, cause="done", audit=(audit(2),)) for run in (second, first)]
        recording = asyncio.create_task(store.record(batch))
        await eventually(lambda: somebody_waits(postgres_url), "the batch waits for the lock")
        await other.execute(lock, [first.run.id])  # closes the circle
        await other.commit()
    assert None not in await asyncio.wait_for(recording, 20)
    for run in (first, second):
        assert (await store.run(run.run.id)).cause == "done"
        assert len(await store.audit(run.run.id)) == 2
    await store.close()


async def somebody_waits(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        found = await admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        row = await found.fetchone()
    return row is not None and row[0] > 0


@pytest.mark.postgres
async def test_a_commit_whose_answer_is_lost_is_recorded_once(
    postgres_url: str, tmp_path: Path
) -> None:
    async with cutting_proxy(postgres_url, tmp_path, at=b"accepted AS") as (url, cut):
        store = open_store(url)
        (run,) = await claimed(store)
        given = write(
            run, links=(begun(0), landed(1)), attempts=(attempt(),), audit=(audit(2), audit(3))
        )
        cut.set()
        with pytest.raises(Unavailable):
            await store.record([given])
        cut.clear()
        direct = open_store(postgres_url)
        assert (await direct.run(run.run.id)).audit_seq == 3  # it was committed
        assert None not in await store.record([given])
        assert len(await direct.audit(run.run.id)) == 3
        assert len(await direct.attempts(run.run.id)) == 1
        await direct.close()
        await store.close()


@pytest.mark.postgres
async def test_a_claim_whose_commit_is_not_answered(postgres_url: str, tmp_path: Path) -> None:
    async with cutting_proxy(postgres_url, tmp_path, at=b"mine AS") as (url, cut):
        store = open_store(url)
        await registered(store, ME)
        (new,) = await accepted(store)
        cut.set()
        with pytest.raises(Unavailable):
            await store.claim([(new.id, 0)], owner=ME)
        cut.clear()
        (taken,) = await store.claim([(new.id, 0)], owner=ME)
        assert (taken.run.owner, taken.run.epoch) == (ME, 2)
        await store.close()


@asynccontextmanager
async def cutting_proxy(
    url: str, folder: Path, *, at: bytes
) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Stands between; while `cut` is set, it passes what holds `at` on and drops the answer."""
    head, _, host = url.partition("host=")
    cut, name = asyncio.Event(), ".s.PGSQL.5432"
    lines: list[asyncio.StreamWriter] = []
    pumps: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(f"{host}/{name}")
        committing = asyncio.Event()

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, up: bool) -> None:
            while data := await source.read(65536):
                if up and cut.is_set() and at in data:
                    committing.set()
                if not up and committing.is_set():
                    break
                sink.write(data)
                await sink.drain()
            for each in (writer, up_writer):
                each.close()

        lines.extend((writer, up_writer))
        pumps.append(asyncio.ensure_future(pump(reader, up_writer, True)))
        pumps.append(asyncio.ensure_future(pump(up_reader, writer, False)))

    server = await asyncio.start_unix_server(serve, folder / name)
    try:
        yield f"{head}host={folder}", cut
    finally:
        server.close()
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for line in lines:
            line.close()
        await asyncio.gather(*(line.wait_closed() for line in lines), return_exceptions=True)
