"""A house on a fresh, migrated database: SQLite by default, PostgreSQL where a test asks for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator import crashpoints
from orchestrator.store import migrate
from tests.integration.engine.house import House


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "orchestrator.db"
    shutil.copy(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def house(database: str) -> AsyncIterator[House]:
    """One on SQLite."""
    opened = House(database)
    yield opened
    await opened.close()


@pytest.fixture
async def postgres_house(migrated_postgres_dsn: str) -> AsyncIterator[House]:
    """One on PostgreSQL."""
    opened = House(migrated_postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def _no_crash_point_left() -> Iterator[None]:
    yield
    crashpoints.install(None)
