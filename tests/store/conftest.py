"""One suite for the port, run on every implementation: SQLite in a file, and a real PostgreSQL.

Each test gets a fresh, migrated database: a copy of one that was migrated once.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.embedded.postgres import create_database, database_url, drop_database
from orchestrator.store import SqlStore, migrate, open_store

_TEMPLATE = "store_template"


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """A server with a migrated database to copy."""
    create_database(postgres_server, _TEMPLATE)
    asyncio.run(migrate(database_url(postgres_server, _TEMPLATE)))
    return postgres_server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def postgres_url(postgres_template: str) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    name = f"store_{uuid.uuid4().hex[:12]}"
    yield create_database(postgres_template, name, template=_TEMPLATE)
    drop_database(postgres_template, name)


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
