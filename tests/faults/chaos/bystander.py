"""The tables as a bystander reads them, on either database. Times are UNIX seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, create_engine, func, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import NullPool

from orchestrator.store.tables import attempts, audit, runs, workers

_CHUNK = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a worker process has in its hands."""

    worker: str | None  # None: it is not registered
    runs: tuple[str, ...] = ()


class Bystander:
    """Reads only. Every method raises sqlalchemy.exc.DBAPIError while the database is away."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(_plain(url), poolclass=NullPool)
        self._is_sqlite = self._engine.dialect.name == "sqlite"

    def now(self) -> float:
        """The database's clock; SQLite's is this machine's."""
        if self._is_sqlite:
            return time.time()
        return moment(self._rows(select(func.clock_timestamp()))[0][0])

    def counts(self) -> dict[str, int]:
        """Runs by status."""
        statement = select(runs.c.status, func.count()).group_by(runs.c.status)
        return dict(self._pairs(statement))

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
        return self._first(audit, audit.c.at, run_ids, workings, after)

    def next_records(self, run_ids: Sequence[str], *, after: float) -> dict[str, float]:
        """When anything at all was next recorded of each run."""
        return self._first(audit, audit.c.at, run_ids, audit.c.seq > 0, after)

    def attempts_of(self, run_ids: Sequence[str]) -> int:
        """Finished attempts."""
        found = 0
        for some in _chunks(run_ids):
            statement = select(func.count()).select_from(attempts)
            found += int(self._rows(statement.where(attempts.c.run_id.in_(some)))[0][0])
        return found

    def settled_by(self) -> float | None:
        """When the last run settled."""
        found = self._rows(select(func.max(runs.c.settled_at)))[0][0]
        return None if found is None else moment(found)

    def close(self) -> None:
        """Nothing stays open."""
        self._engine.dispose()

    def _first(
        self, table: Any, at: Any, run_ids: Sequence[str], where: ColumnElement[bool], after: float
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        for some in _chunks(run_ids):
            statement = (
                select(table.c.run_id, func.min(at))
                .where(table.c.run_id.in_(some), where, at > self._instant(after))
                .group_by(table.c.run_id)
            )
            found.update((run, moment(first)) for run, first in self._rows(statement))
        return found

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
