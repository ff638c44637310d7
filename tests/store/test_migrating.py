"""Migrations: from nothing to the newest, once, however many start at the same time."""

from __future__ import annotations

import asyncio
import re
import sys
from functools import partial
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from orchestrator.errors import InvalidSetting
from orchestrator.store import codec, migrate, migrating, open_store
from orchestrator.store.engine import open_database
from orchestrator.store.prebuilding import INDEXES, prebuild
from orchestrator.store.tables import metadata
from tests.store.making import accepted, new_id

PROCESSES = 4
PARTITION = re.compile(r"(audit|attempts)_(before|default|\d{8})")
MIGRATE = """
import asyncio, sys
from orchestrator.store import migrate
print(asyncio.run(migrate(sys.argv[1])))
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database in which nothing is yet (for SQLite: not even its file)."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_dsn"
    value: str = request.getfixturevalue(name)
    return value


async def test_from_nothing_and_then_nothing_to_do(empty_url: str) -> None:
    assert await migrate(empty_url) is True
    assert await migrate(empty_url) is False
    store = open_store(empty_url)
    await accepted(store)
    await store.close()


# SQLite has none of them: they are indexes of words.
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
async def test_the_migrations_make_what_the_code_believes(empty_url: str) -> None:
    await migrate(empty_url)
    database = open_database(empty_url)

    def whole(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or not PARTITION.fullmatch(name or "")

    def differences(connection: Any) -> list[Any]:
        options = {"compare_type": True, "include_name": whole}
        context = MigrationContext.configure(connection, opts=options)
        found = list(compare_metadata(context, metadata))
        return [each for each in found if not is_old_key(connection, each)]

    def is_old_key(connection: Any, difference: Any) -> bool:
        """SQLite's key to the workflow version is left where it is."""
        kind, what = difference[:2]
        names = [column.name for column in what.columns] if kind == "remove_fk" else []
        return connection.dialect.name == "sqlite" and names == ["workflow_id"]

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrating.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrating.HEAD


async def test_many_processes_at_once(empty_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, empty_url, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    answers = [(await asyncio.wait_for(p.communicate(), 60))[0].strip() for p in processes]
    assert sorted(answers) == [b"False"] * (PROCESSES - 1) + [b"True"]


async def test_many_at_once_in_one_process(empty_url: str) -> None:
    answers = await asyncio.gather(*(migrate(empty_url) for _ in range(PROCESSES)))
    assert sorted(answers) == [False] * (PROCESSES - 1) + [True]


async def test_a_database_of_a_newer_release_is_left_alone(empty_url: str) -> None:
    await migrate(empty_url)
    database = open_database(empty_url)
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(InvalidSetting, match="9999"):
        await migrate(empty_url)


async def test_sqlite_writes_ahead_and_syncs_fully(sqlite_url: str) -> None:
    await migrate(sqlite_url)
    database = open_database(sqlite_url)
    settings = {
        name: (await database.row(text(f"PRAGMA {name}")))[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    await database.close()
    assert settings == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000,
    }  # fmt: skip


async def test_what_is_there_stays_when_tables_are_parted(empty_url: str) -> None:
    await _upgrade_to(empty_url, "0002")
    before = await _old_rows(empty_url)
    assert await migrate(empty_url) is True
    database = open_database(empty_url)
    for table, rows in before.items():
        found = await database.rows(text(f"SELECT * FROM {table} ORDER BY 1, 2"))
        # Columns that came later are behind those that were there.
        assert [tuple(row)[: len(rows[0])] for row in found] == rows
    standing = await database.rows(text("SELECT status, standing FROM runs ORDER BY status"))
    await database.close()
    assert [tuple(row) for row in standing] == [
        ("compensating", "due"), ("escalated", "escalated"), ("parked", "timed"),
        ("succeeded", "succeeded"),
    ]  # fmt: skip
    store = open_store(empty_url)
    for run_id in {row[0] for row in before["audit"]}:
        assert [record.seq for record in await store.audit(run_id)] == [1, 2]
        assert len(await store.attempts(run_id)) == 1
    await accepted(store, 3)
    await store.close()


@pytest.mark.postgres
async def test_indexes_are_built_beside_the_writers_and_again_where_a_build_broke_off(
    postgres_dsn: str,
) -> None:
    await _upgrade_to(postgres_dsn, "0012")
    database = open_database(postgres_dsn)
    async with database.direct.connect() as connection:
        await connection.execute(text("CREATE INDEX runs_by_tenant ON runs (tenant)"))
        await connection.execute(text(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'runs_by_tenant'::regclass"
        ))  # fmt: skip
        assert await prebuild(connection) == list(INDEXES)
        assert await prebuild(connection) == []
    assert await migrate(postgres_dsn) is True
    shapes = await database.rows(text(
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'runs_by_tenant'"
    ))  # fmt: skip
    assert [row[0].rpartition("btree ")[2] for row in shapes] == ["(tenant, id, workflow)"]
    await database.close()


async def _upgrade_to(url: str, revision: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "upgrade", partial(_only_to, revision, command.upgrade))
        await migrate(url)


def _only_to(revision: str, upgrade: Any, config: Config, _head: str) -> None:
    upgrade(config, revision)


async def _put_workflow(tx: Any, at: str) -> None:
    await tx.change(text(
        "INSERT INTO workflows (id, name, version, digest, plan, document, published_at,"
        f" published_by) VALUES ('w', 'w', 1, 'd', '{{}}', '', {at}, 'me')"
    ))  # fmt: skip


async def _put_run(tx: Any, at: str, run_id: str, status: str) -> None:
    await tx.change(text(
        "INSERT INTO runs (id, workflow_id, workflow, version, tenant, actor, lane,"
        " priority, idempotency_key, inputs_digest, inputs, status, direction, epoch,"
        " claims, created_at, audit_seq) VALUES (:id, 'w', 'w', 1, 't', 'a', 'l', 0, :id,"
        f" 'd', '{{}}', :status, 'forward', 0, 0, {at}, 1)"
    ), id=run_id, status=status)  # fmt: skip


async def _old_rows(url: str) -> dict[str, list[Any]]:
    """A run in each of four statuses, with records; ids of today, of long ago and of no time."""
    database = open_database(url)
    at = database.dialect.words["now"]
    ids = {
        new_id(): "succeeded", "018f0000-0000-7000-8000-000000000001": "parked",
        "00000000-0000-7000-8000-000000000001": "escalated", "zzz": "compensating",
    }  # fmt: skip

    async def fill(tx: Any) -> None:
        await _put_workflow(tx, at)
        for run_id, status in ids.items():
            await _put_run(tx, at, run_id, status)
            for seq in (1, 2):
                await tx.change(text(
                    "INSERT INTO audit (run_id, seq, at, kind, actor, data)"
                    f" VALUES (:id, :seq, {at}, 'k', 'a', :data)"
                ), id=run_id, seq=seq, data=codec.dump({}))  # fmt: skip
            await tx.change(text(
                "INSERT INTO attempts (run_id, id, step, direction, number, kind, outcome, reason,"
                f" started_at, finished_at, worker) VALUES (:id, 'a', 0, 'forward', 1, 'call',"
                f" 'landed', '', {at}, {at}, 'w')"
            ), id=run_id)  # fmt: skip

    await database.write(fill)
    kept = {}
    for table in ("audit", "attempts"):
        found = await database.rows(text(f"SELECT * FROM {table} ORDER BY 1, 2"))
        kept[table] = [tuple(row) for row in found]
    await database.close()
    return kept


async def test_reruns_that_are_under_way_learn_whose_they_are(empty_url: str) -> None:
    await _upgrade_to(empty_url, "0020")
    database = open_database(empty_url)
    at = database.dialect.words["now"]
    ids = [new_id() for _ in range(3)]  # a run, its rerun, and a rerun whose audit is gone

    async def fill(tx: Any) -> None:
        await _put_workflow(tx, at)
        for run_id in ids:
            await _put_run(tx, at, run_id, "running")
        await tx.change(text("UPDATE runs SET is_rerun = true WHERE id <> :id"), id=ids[0])
        await tx.change(text(
            "INSERT INTO audit (run_id, seq, at, kind, actor, data)"
            f" VALUES (:id, 2, {at}, 'run.rerun_of', 'a', :data)"
        ), id=ids[1], data=codec.dump({"run": ids[0]}))  # fmt: skip

    await database.write(fill)
    assert await migrate(empty_url) is True
    found = await database.rows(text("SELECT rerun_of FROM runs ORDER BY id"))
    await database.close()
    assert [row[0] for row in found] == [None, ids[0], ""]  # the last one is a rerun still
