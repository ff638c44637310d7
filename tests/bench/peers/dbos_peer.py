"""DBOS on the same PostgreSQL server, in a database of its own.

It is a library: its workers write to the database, and there is no server. Runs get there through
its queue, enqueued in one transaction, or are started inside the worker processes, as an
application that embeds it does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import ChildSpec
from tests.bench.engine.place import Place, Wish
from tests.bench.peers import installed, names
from tests.bench.peers.peer import (
    Bulk,
    Variant,
    flow_of,
    links_of,
    new_folder,
    said,
    up,
    worker_env,
)

QUEUED, EMBEDDED = "queue", "started in the worker"
_DATABASE = "dbos"
_MODULE = "tests.bench.peers.dbos_worker"
_POLL_SECONDS = 0.1


class Dbos:
    """The peer."""

    system = "dbos"
    durability = (
        "the same PostgreSQL, fsync and synchronous_commit on; each step's result is a commit of"
        " its own, and so are a workflow's start and end"
    )
    most_runs: int | None = None

    def missing(self) -> str:
        """Its package."""
        return installed.missing_packages(["dbos"])

    def version(self) -> str:
        """Of the library."""
        return installed.versions("dbos")

    def prepare(self) -> None:
        """A package brings all of it."""

    def variants(self, wish: Wish) -> Sequence[Variant]:
        """Alone, a run never waits for a queue to be polled: it is started where it runs."""
        ways = (EMBEDDED,) if wish.load == "latency" else (QUEUED, EMBEDDED)
        counts = (1,) if wish.load == "latency" else sorted({1, wish.workers})
        return [Variant(way=way, workers=count) for way in ways for count in counts]

    def settings(self, place: Place) -> Mapping[str, Any]:
        """Its defaults, but for the interval at which a queue is polled."""
        return {"sys_db_pool_size": "default", "polling_interval_sec": names.DBOS_POLLING_SECONDS}

    @asynccontextmanager
    async def crew(self, place: Place, variant: Variant, runs: int) -> AsyncIterator[_Crew]:
        """Its workers; the first one makes the tables."""
        if place.postgres is None:
            raise RuntimeError("DBOS is measured on PostgreSQL: --db postgres")
        url, folder = f"{place.postgres.url.rpartition('/')[0]}/{_DATABASE}", new_folder(place, "d")
        ports = [free_port() for _ in range(variant.workers)]
        share = -(-runs // variant.workers) if variant.workers > 1 else 0
        specs = [_spec(place, folder, url, number, ports, share) for number in range(len(ports))]
        with up(specs, folder) as children:
            parts = {
                "workers": [child.pid for child in children],
                "database": place.servers["database"],
            }
            made = _Crew(place.wish, parts, url, ports, variant.way == QUEUED)
            try:
                yield made
            finally:
                made.close()


def _spec(
    place: Place, folder: Path, url: str, number: int, ports: Sequence[int], share: int
) -> ChildSpec:
    name = f"w{number + 1}"
    own = {
        names.DBOS_URL: url, names.DBOS_NAME: name,
        names.DBOS_PORT: str(ports[number]), names.DBOS_CONCURRENCY: str(share),
    }  # fmt: skip
    log = folder / f"{name}.log"
    return ChildSpec(
        name=name, argv=(sys.executable, "-m", _MODULE), address=f"{LOOPBACK}:{ports[number]}",
        env={**worker_env(place), **own}, ready=lambda: said(log, "ready"),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """One workflow in its table; times in UNIX seconds."""

    status: str
    created_at: float
    completed_at: float


class _Crew:
    def __init__(
        self, wish: Wish, parts: Mapping[str, Sequence[int]], url: str, ports: Sequence[int],
        queued: bool,
    ) -> None:  # fmt: skip
        import sqlalchemy as sa
        from dbos import DBOSClient

        self.parts = parts
        self._wish, self._ports, self._queued = wish, ports, queued
        self._client = DBOSClient(system_database_url=url)
        self._engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        self._link = psycopg.connect(url, autocommit=True, row_factory=tuple_row)
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def close(self) -> None:
        """Every connection."""
        for _, writer in self._streams:
            writer.close()
        self._link.close()
        self._engine.dispose()
        self._client.destroy()

    async def bulk(self, numbers: Sequence[int]) -> Bulk:
        began = time.time()
        if self._queued:
            await asyncio.to_thread(self._enqueue, numbers)
            while await asyncio.to_thread(self._left):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(_POLL_SECONDS)
        else:
            await self._start(numbers)
        rows = await asyncio.to_thread(self._ended, began)
        self._check(rows, began, len(numbers))
        return Bulk(
            seconds=max(row.completed_at for row in rows) - began,
            latencies_seconds=[row.completed_at - row.created_at for row in rows],
        )

    async def warmed(self) -> None:
        """PostgreSQL has statistics, as it has in a minute of use; ours has them, too."""
        await asyncio.to_thread(self._link.execute, "ANALYZE")

    async def one(self, number: int) -> None:
        """Its worker says that it has ended; how it ended is read after the round."""
        await self._start(range(number, number + 1))

    def _enqueue(self, numbers: Sequence[int]) -> None:
        flow = flow_of(self._wish)
        with self._engine.begin() as connection:
            for number in numbers:
                self._client.enqueue_in_transaction(
                    connection,
                    {
                        "queue_name": names.QUEUE, "workflow_name": flow,
                        "application_name": names.APPLICATION,
                    },
                    number,
                    self._wish.steps,
                )  # fmt: skip

    async def _start(self, numbers: Sequence[int]) -> None:
        """In every worker its share, at once."""
        if not self._streams:
            self._streams = [await asyncio.open_connection(LOOPBACK, port) for port in self._ports]
        share = -(-len(numbers) // len(self._streams))
        parts = [numbers[at : at + share] for at in range(0, len(numbers), share)]
        for (_, writer), part in zip(self._streams, parts, strict=False):
            wish = {
                "flow": flow_of(self._wish), "first": part[0], "count": len(part),
                "steps": self._wish.steps,
            }  # fmt: skip
            writer.write(json.dumps(wish).encode() + b"\n")
        for (reader, _), _ in zip(self._streams, parts, strict=False):
            if await reader.readline() != b"ended\n":
                raise RuntimeError("a worker of DBOS has gone away")

    # --- reading its tables -----------------------------------------------------------------------

    def _left(self) -> int:
        return self._number("SELECT count(*) FROM dbos.workflow_status WHERE completed_at IS NULL")

    def _ended(self, since: float) -> list[_Ended]:
        rows = self._link.execute(
            "SELECT status, created_at, completed_at FROM dbos.workflow_status"
            " WHERE created_at >= %s",
            (int(1e3 * since),),
        )
        return [
            _Ended(status=status, created_at=created / 1e3, completed_at=completed / 1e3)
            for status, created, completed in rows
        ]

    def _check(self, rows: Sequence[_Ended], since: float, wanted: int) -> None:
        """All of them, each with as many recorded steps as the work has. Raises RuntimeError."""
        status = "ERROR" if self._wish.load == "fail" else "SUCCESS"
        wrong = [row.status for row in rows if row.status != status]
        done = self._number(
            "SELECT count(*) FROM dbos.operation_outputs JOIN dbos.workflow_status"
            " USING (workflow_uuid) WHERE created_at >= %s",
            (int(1e3 * since),),
        )
        links = wanted * links_of(self._wish)
        if wrong or len(rows) != wanted or done != links:
            found = f"{len(rows)} of {wanted} workflows, {done} of {links} steps"
            raise RuntimeError(f"{found}; not {status}: {wrong[:5]}")

    def _number(self, statement: str, values: Sequence[Any] = ()) -> int:
        row = self._link.execute(statement, values).fetchone()
        assert row is not None
        return int(row[0])
