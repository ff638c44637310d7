"""One suite for the ports, run on every implementation: SQLite in a file, a real PostgreSQL, and
the memory that simulations run on.

Each test finds a migrated database without rows. Tests that take `url` look into SQL themselves;
all others run on `backend`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from orchestrator.embedded.postgres import create_database
from orchestrator.embedded.process import stop_all
from orchestrator.ports import Store
from orchestrator.store import migrate
from orchestrator.store.engine import SET_SESSION
from orchestrator.store.tables import metadata
from tests.conftest import skip_or_fail
from tests.pgbouncer import program, start_pgbouncer
from tests.store.backends import Backend, in_memory, in_sql, through_pooler

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
    # To empty all takes four times as long as to empty those that hold something.
    full = " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in metadata.tables
    )
    with psycopg.connect(migrated_postgres, autocommit=True) as connection:
        found = ", ".join(name for (name,) in connection.execute(sql.SQL(full)))
        if found:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(found)))
    return migrated_postgres


@pytest.fixture
def sqlite_file_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "orchestrator.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


_POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


def _url(request: pytest.FixtureRequest) -> str:
    name = "sqlite_file_url" if request.param == "sqlite" else "postgres_url"
    value: str = request.getfixturevalue(name)
    return value


@pytest.fixture(params=["sqlite", _POSTGRES])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of SQL database in turn."""
    return _url(request)


@pytest.fixture(scope="session")
def pooler(migrated_postgres: str) -> Iterator[str]:
    """The URL of `migrated_postgres` through PgBouncer in transaction mode."""
    if program() is None:
        skip_or_fail("no PgBouncer: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    child = start_pgbouncer(migrated_postgres, folder, pool_size=20, connect_query=SET_SESSION)
    yield child.spec.address
    stop_all([child])
    shutil.rmtree(folder)


_POOLER = pytest.param("pooler", marks=[pytest.mark.postgres, pytest.mark.long])


@pytest.fixture(params=["sqlite", _POSTGRES, "memory", _POOLER])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each implementation of the ports in turn."""
    if request.param == "pooler":
        url = request.getfixturevalue("postgres_url")
        return through_pooler(request.getfixturevalue("pooler"), url)
    return in_memory() if request.param == "memory" else in_sql(_url(request))


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    opened = backend.open()
    yield opened
    await opened.close()


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Store]:
    """A second store on the same database, as another process would have."""
    opened = backend.open()
    yield opened
    await opened.close()
