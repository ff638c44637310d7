"""The implementations of the ports on which the suite runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.errors import Unavailable
from orchestrator.ports import Store, WorkerLocks
from orchestrator.store import SqlStore, open_store, open_worker_locks
from orchestrator.store.engine import Database, parse_url
from orchestrator.store.locks_advisory import AdvisoryLocks
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One database; each call opens what another process on it would open."""

    open: Callable[[], Store]
    locks: Callable[[], WorkerLocks]


def in_sql(url: str) -> Backend:
    """On a migrated database without rows."""
    return Backend(open=lambda: open_store(url, pool_size=2), locks=lambda: locks_of(url))


def through_pooler(pooler_url: str, url: str) -> Backend:
    """On the same, with a pooler in transaction mode before all but the locks."""
    return Backend(
        open=lambda: open_store(pooler_url, pool_size=2, shares_sessions=True),
        locks=lambda: locks_of(url),
    )


def in_memory() -> Backend:
    """On a new database, under the wall clock."""
    database = MemoryDatabase(lambda: datetime.now(UTC))
    return Backend(open=lambda: MemoryStore(database), locks=lambda: MemoryLocks(database))


def locks_of(url: str) -> WorkerLocks:
    """The locks of a database; of a PostgreSQL at once, although the tests' has just started."""
    if url.startswith("postgresql"):
        return AdvisoryLocks(parse_url(url), quiet_seconds_after_start=0)
    return open_worker_locks(url)


async def forget_worker(store: Store, worker_id: str) -> None:
    """Take a worker's row away although it may own runs."""
    if isinstance(store, MemoryStore):
        del store.database.workers[worker_id]
        return
    assert isinstance(store, SqlStore)
    statement = text("DELETE FROM workers WHERE id = :id")
    await store._database.write(lambda tx: tx.change(statement, id=worker_id))


@contextmanager
def answers_lost(store: Store) -> Iterator[None]:
    """While it lasts, what this store writes is committed, and nobody hears of it."""
    lost = Unavailable("database", "here", "connection reset after COMMIT")
    if isinstance(store, MemoryStore):

        def drop(moment: str, _call: str) -> None:
            if moment == "after":
                raise lost

        store.line = drop
        yield
        store.line = None
        return

    def dropping(committing: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def drop_after(*args: Any, **parameters: Any) -> Any:
            await committing(*args, **parameters)
            raise lost

        return drop_after

    with pytest.MonkeyPatch.context() as patched:
        for name in ("write", "write_rows"):
            patched.setattr(Database, name, dropping(getattr(Database, name)))
        yield
