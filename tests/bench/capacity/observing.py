"""One configuration under full load: what its runs used, and what its idle workers use."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg
import redis

from orchestrator.core.capacity import Resource
from tests.bench.engine import costs, ours
from tests.bench.engine.place import Place, Wish, set_up
from tests.faults.chaos.stage import new_folder, remove

_IDLE_SECONDS = 6.0
_SETTLING_SECONDS = 1.5  # sessions of PostgreSQL tell their counts once a second
_ALONE = 10
_TRIES = 3
_CALL_SECONDS = {"noop": 0.0, "io20": 0.02, "io200": 0.2}
_COUNTED = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
_WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A configuration."""

    load: str  # noop, io20, io200
    steps: int
    workers: int
    runs: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.load}, {self.steps} steps, {self.workers} worker(s)"

    @property
    def call_seconds(self) -> float:
        """Of each step's call; 0 where there is none."""
        return _CALL_SECONDS[self.load]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one round of it used."""

    setup: Setup
    seconds: float
    used: dict[Resource, float]  # by the runs, with what idle workers use in that time
    idle: dict[Resource, float]  # by all workers without work, each second
    alone_seconds: float  # of one run at a time, median

    @property
    def runs_per_second(self) -> float:
        """Settled."""
        return self.setup.runs / self.seconds


def observe(setup: Setup) -> Observed:
    """What it used. A round in which calls were repeated is another load, and is done again.

    On a machine without time for it the API answers too late, calls are tried again and its breaker
    opens. Raises what a round raises, RuntimeError where none goes undisturbed.
    """
    for _ in range(_TRIES):
        found, repeated = _observe(setup)
        if not repeated:
            return found
    raise RuntimeError(f"{setup.name}: calls were repeated in each of {_TRIES} rounds")


def _observe(setup: Setup) -> tuple[Observed, int]:
    """Start everything, do the work, end it; its folder stays where that raises."""
    wish = Wish(
        load=setup.load, runs=setup.runs, steps=setup.steps, workers=setup.workers,
        gated=setup.call_seconds > 0, count_keys=True,
    )  # fmt: skip
    folder = new_folder()
    with set_up(wish, folder) as place:
        asyncio.run(ours.prepare(place))
        found = asyncio.run(_round(setup, place))
        repeated = 0 if place.stub is None else int(place.stub.statistics()["repeated"])
    remove(folder)
    return found, repeated


async def _round(setup: Setup, place: Place) -> Observed:
    async with ours.workers(place) as crew:
        await crew.warm()
        with _Counters(place, crew) as counters:
            before, began = counters.read(), crew.tables.now()
            busy = time.process_time()
            sent = await crew.submit(setup.runs)
            busy = time.process_time() - busy
            ended = max(end for _, end in await crew.settle(sent))
            await asyncio.sleep(_SETTLING_SECONDS)
            after = counters.read()
            await asyncio.sleep(_IDLE_SECONDS)
            idle = counters.read()
        alone = await crew.alone(_ALONE)
    used = {resource: after[resource] - before[resource] for resource in after}
    return Observed(
        setup=setup, seconds=ended - began,
        used={**used, Resource.ACCEPTANCE_CPU: busy},
        idle={
            **{each: (idle[each] - after[each]) / _IDLE_SECONDS for each in after},
            Resource.ACCEPTANCE_CPU: 0.0, Resource.DATABASE_BYTES: 0.0,
        },
        alone_seconds=median(alone),
    )  # fmt: skip


class _Counters:
    """What the servers count by themselves, on connections that are there all the time."""

    def __init__(self, place: Place, crew: ours.Crew) -> None:
        assert place.postgres is not None, "PostgreSQL is measured"
        self._parts = crew.parts
        self._link = psycopg.connect(place.postgres.url, autocommit=True)
        self._redis = redis.Redis.from_url(place.broker.url)

    def __enter__(self) -> _Counters:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._redis.close()

    def read(self) -> dict[Resource, float]:
        """All of them, since the servers' start."""
        cpu = costs.cpu_seconds(self._parts)
        stats: Any = self._redis.info("stats")
        return {
            Resource.WORKER_CPU: cpu["workers"],
            Resource.DATABASE_CPU: cpu["database"],
            Resource.DATABASE_TRANSACTIONS: self._one(_COUNTED, (self._link.info.dbname,)),
            Resource.DATABASE_WAL: self._one(_WRITTEN),
            Resource.DATABASE_BYTES: self._one(_SIZE),
            Resource.REDIS_CPU: cpu["broker"],
            Resource.REDIS_COMMANDS: float(stats["total_commands_processed"]),
        }

    def _one(self, asked: str, arguments: tuple[str, ...] = ()) -> float:
        row: Any = self._link.execute(asked, arguments).fetchone()
        return float(row[0])
