"""Migrations: from nothing to the newest, once, however many start at the same time."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from orchestrator.errors import InvalidSetting
from orchestrator.store import migrate, migrating, open_store
from orchestrator.store.engine import open_database
from orchestrator.store.tables import metadata
from tests.store.making import accepted

PROCESSES = 4
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


async def test_the_migrations_make_what_the_code_believes(empty_url: str) -> None:
    await migrate(empty_url)
    database = open_database(empty_url)

    def differences(connection: Any) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

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
