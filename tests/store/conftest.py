"""One suite for the port, run on every implementation: SQLite in a file, and a real PostgreSQL.

Each test finds a migrated database without rows.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from orchestrator.embedded.postgres import create_database
from orchestrator.store import SqlStore, migrate, open_store
from orchestrator.store.tables import metadata

_NAME = "store"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> str:
    """The URL of a migrated database of a real server."""
    url = create_database(postgres_server, _NAME)
    asyncio.run(migrate(url))
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def postgres_url(migrated_postgres: str) -> str:
    """A migrated PostgreSQL database without rows."""
    tables = ", ".join(metadata.tables)
    with psycopg.connect(migrated_postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(tables)))
    return migrated_postgres


@pytest.fixture
def sqlite_file_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "orchestrator.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    name = "sqlite_file_url" if request.param == "sqlite" else "postgres_url"
    value: str = request.getfixturevalue(name)
    return value


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[SqlStore]:
    """A second store on the same database, as another process would have."""
    opened = open_store(url)
    yield opened
    await opened.close()
