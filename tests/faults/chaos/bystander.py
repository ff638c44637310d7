"""The tables as a bystander reads them, on either database. Times are UNIX seconds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, create_engine, func, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import NullPool, QueuePool

from orchestrator.store.tables import audit, run_steps, runs, workers

Link = tuple[str, str, str]
"""Run's name, step and direction in the ledger's words."""

_CHUNK = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a worker process has in its hands."""

    worker: str | None  # None: it is not registered
    runs: tuple[str, ...] = ()


class Bystander:
    """Reads only. Every method raises sqlalchemy.exc.DBAPIError while the database is away."""

    def __init__(self, url: str) -> None:
        plain = _plain(url)
        self._is_sqlite = plain.drivername.startswith("sqlite")
        # SQLite keeps what is closed open until no connection of this process holds a lock.
        pool = QueuePool if self._is_sqlite else NullPool
        self._engine: Engine = create_engine(plain, poolclass=pool)

    def now(self) -> float:
        """The database's clock; SQLite's is this machine's."""
        if self._is_sqlite:
            return time.time()
        return moment(self._rows(select(func.clock_timestamp()))[0][0])

    def writable(self) -> bool:
        """Whether anybody can write now. In SQLite a process that was stopped may hold the lock."""
        if not self._is_sqlite:
            return True
        with closing(sqlite3.connect(str(self._engine.url.database), timeout=0.5)) as link:
            try:
                link.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            link.rollback()
        return True

    def counts(self) -> dict[str, int]:
        """Runs by status."""
        statement = select(runs.c.status, func.count()).group_by(runs.c.status)
        return dict(self._pairs(statement))

    def statuses(self) -> dict[str, str]:
        """Of each run, by its name at the API (its idempotency key)."""
        return dict(self._pairs(select(runs.c.idempotency_key, runs.c.status)))

    def unsettled(self) -> int:
        """Runs that are on their way."""
        statement = select(func.count()).select_from(runs).where(runs.c.settled_at.is_(None))
        return int(self._rows(statement)[0][0])

    def in_hands(self) -> int:
        """Runs that some worker owns."""
        statement = select(func.count()).select_from(runs).where(runs.c.owner.is_not(None))
        return int(self._rows(statement)[0][0])

    def living(self) -> dict[int, str]:
        """Worker id by process id."""
        return dict(self._pairs(select(workers.c.pid, workers.c.id)))

    def held_by(self, pid: int) -> Held:
        """Of the process with this id."""
        statement = (
            select(workers.c.id, runs.c.id)
            .select_from(workers.outerjoin(runs, runs.c.owner == workers.c.id))
            .where(workers.c.pid == pid)
        )
        rows = self._rows(statement)
        if not rows:
            return Held(worker=None)
        return Held(worker=rows[0][0], runs=tuple(run for _, run in rows if run is not None))

    def next_step_of_others(
        self, run_ids: Sequence[str], *, worker: str, after: float
    ) -> dict[str, float]:
        """When each run was next worked on by another worker than this one; else it is left out.

        A takeover alone is not work: the first record that a worker wrote counts.
        """
        workings = audit.c.actor.not_in(["engine", worker]) & audit.c.kind.not_like("operator.%")
        found: dict[str, float] = {}
        for some in _chunks(run_ids):
            statement = (
                select(audit.c.run_id, func.min(audit.c.at))
                .where(audit.c.run_id.in_(some), workings, audit.c.at > self._instant(after))
                .group_by(audit.c.run_id)
            )
            found.update((run, moment(first)) for run, first in self._rows(statement))
        return found

    def taken_over(self, run_ids: Sequence[str]) -> int:
        """How often one of them was taken from a worker that was called dead."""
        recovered = audit.c.kind == "run.recovered"
        counting = select(func.count()).where(recovered)
        return sum(
            int(self._rows(counting.where(audit.c.run_id.in_(some)))[0][0])
            for some in _chunks(run_ids)
        )

    def in_flight(self, run_ids: Sequence[str]) -> set[Link]:
        """Links that were begun and have no outcome."""
        found: set[Link] = set()
        for some in _chunks(run_ids):
            statement = select(
                runs.c.idempotency_key, run_steps.c.step, run_steps.c.direction
            ).join_from(run_steps, runs, run_steps.c.run_id == runs.c.id)
            wanted = run_steps.c.run_id.in_(some) & (run_steps.c.status == "started")
            for name, step, direction in self._rows(statement.where(wanted)):
                found.add((name, f"s{step + 1}", "do" if direction == "forward" else "undo"))
        return found

    def settled_by(self) -> float | None:
        """When the last run settled."""
        found = self._rows(select(func.max(runs.c.settled_at)))[0][0]
        return None if found is None else moment(found)

    def close(self) -> None:
        """Nothing stays open."""
        self._engine.dispose()

    def _instant(self, seconds: float) -> Any:
        return int(seconds * 1e6) if self._is_sqlite else func.to_timestamp(seconds)

    def _pairs(self, statement: Select[Any]) -> Iterable[tuple[Any, Any]]:
        return ((first, second) for first, second in self._rows(statement))

    def _rows(self, statement: Select[Any]) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(statement).all()


def moment(value: Any) -> float:
    """UNIX seconds of what a column of times holds."""
    return value.timestamp() if isinstance(value, datetime) else int(value) / 1e6


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _plain(url: str) -> Any:
    """The same database through a driver that blocks."""
    parsed = make_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver)
