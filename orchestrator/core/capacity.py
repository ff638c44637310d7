"""What a load asks of workers, database and broker: a linear model of few, measured costs.

Each resource is used by runs, by their steps, by calls of APIs, and by workers that are merely
there:

    used a second = rate · (run + steps · (step + call)) + workers · worker_second

Transactions are bounded, too: a worker's commits take turns, and the busier it is the more runs
share one, so that a busy worker makes about as many a second whatever its runs are like.

Costs are measured at full load (`orchestrator bench capacity`), where commits are shared by many
runs; at low load a run takes more of everything, and there is more than enough of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import InvalidInput, Problem

SECONDS_OF_A_DAY = 86_400
CONNECTIONS_OF_A_WORKER = 13
"""To PostgreSQL, at most; as the store opens them."""
MOST_RUNS = 1_000_000  # a second
MOST_STEPS = 1000
POOLED_CPU = 1.35
"""PostgreSQL's CPU behind a pooler in transaction mode over that without: statements are planned
each time. The larger of the figures in docs/scaling.md."""


class Resource(StrEnum):
    """What is used, in the unit in which it is counted; a CPU second a second is a core."""

    WORKER_CPU = "worker_cpu_seconds"
    ACCEPTANCE_CPU = "acceptance_cpu_seconds"  # of whoever submits, in bulk
    DATABASE_CPU = "database_cpu_seconds"
    DATABASE_TRANSACTIONS = "database_transactions"
    DATABASE_WAL = "database_wal_bytes"
    DATABASE_BYTES = "database_bytes"  # tables and indexes, that stay
    REDIS_CPU = "redis_cpu_seconds"  # broker and gate on one server
    REDIS_COMMANDS = "redis_commands"


class Database(StrEnum):
    """How workers reach PostgreSQL."""

    POSTGRES = "postgres"
    PGBOUNCER = "pgbouncer"  # in transaction mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What is used of one resource, in its unit."""

    run: float  # by a run, whatever its steps
    step: float  # by a step, whatever it does
    call: float  # more by a step that calls an API over HTTP, through a gate with limits
    worker_second: float  # by a worker that has nothing to do, each second

    def of_a_run(self, load: Load) -> float:
        """Used by one run."""
        return self.run + load.steps * (self.step + (self.call if load.call_seconds else 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """All costs, and the time that a step takes besides its call."""

    of: Mapping[Resource, Cost]
    step_seconds: float
    busy_transactions: float = math.inf  # of a worker that has all it can do, each second


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is wanted."""

    runs_per_second: float
    steps: int
    call_seconds: float  # of each step; 0: steps are functions that wait for nothing
    concurrency: int  # active runs that a worker may have, the setting
    utilisation: float  # of a core that is to be used at most; 0 to 1
    database: Database
    database_cores: int  # of one server

    def __post_init__(self) -> None:
        """Raises InvalidInput naming each value that makes no sense."""
        fits = {
            "runs_per_second": (self.runs_per_second, 0 < self.runs_per_second <= MOST_RUNS,
                                f"above 0, at most {MOST_RUNS:,} (nan and inf are no numbers)"),
            "steps": (self.steps, 1 <= self.steps <= MOST_STEPS, f"1 to {MOST_STEPS:,}"),
            "call_seconds": (self.call_seconds, 0 <= self.call_seconds <= SECONDS_OF_A_DAY,
                             "0 (no call) to a day"),
            "concurrency": (self.concurrency, 1 <= self.concurrency <= 20_000, "1 to 20,000"),
            "utilisation": (self.utilisation, 0.1 <= self.utilisation <= 0.95, "0.1 to 0.95"),
            "database_cores": (self.database_cores, self.database_cores >= 1, "1 or more"),
        }  # fmt: skip
        problems = [
            Problem(place=name, found=f"{value:g}", wanted=wanted)
            for name, (value, is_fit, wanted) in fits.items() if not is_fit
        ]  # fmt: skip
        if problems:
            raise InvalidInput("there is no such load", problems=problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What it takes."""

    runs_per_day: float
    steps_per_second: float
    calls_per_second: float
    runs_in_flight: float  # at once, on average (Little's law)
    worker_cores: float  # that are busy
    workers: int  # processes, one for each core
    bound: str  # by what: cpu, or concurrency
    acceptance_cores: float
    database_cores: float  # that are busy
    database_servers: int
    database_transactions_per_second: float
    database_wal_bytes_per_second: float
    database_bytes_per_day: float
    database_connections: int  # of all workers, at most
    redis_cores: float  # that are busy; one server uses one for commands
    redis_servers: int
    redis_commands_per_second: float


def demand(load: Load, costs: Costs) -> Demand:
    """What this load takes at these costs."""
    in_flight = load.runs_per_second * load.steps * (load.call_seconds + costs.step_seconds)
    by_cpu = _workers_by_cpu(load, costs)
    by_concurrency = math.ceil(in_flight / load.concurrency)
    workers = max(by_cpu, by_concurrency)

    def used(resource: Resource) -> float:
        runs = load.runs_per_second
        return predicted(costs, resource, load, runs=runs, seconds=1.0, workers=workers)

    pooled = load.database is Database.PGBOUNCER
    database_cores = used(Resource.DATABASE_CPU) * (POOLED_CPU if pooled else 1.0)
    redis_cores = used(Resource.REDIS_CPU)
    steps = load.runs_per_second * load.steps
    return Demand(
        runs_per_day=load.runs_per_second * SECONDS_OF_A_DAY,
        steps_per_second=steps,
        calls_per_second=steps if load.call_seconds else 0.0,
        runs_in_flight=in_flight,
        worker_cores=used(Resource.WORKER_CPU),
        workers=workers,
        bound="cpu" if by_cpu >= by_concurrency else "concurrency",
        acceptance_cores=used(Resource.ACCEPTANCE_CPU),
        database_cores=database_cores,
        database_servers=math.ceil(database_cores / load.utilisation / load.database_cores),
        database_transactions_per_second=used(Resource.DATABASE_TRANSACTIONS),
        database_wal_bytes_per_second=used(Resource.DATABASE_WAL),
        database_bytes_per_day=used(Resource.DATABASE_BYTES) * SECONDS_OF_A_DAY,
        database_connections=workers * (1 if pooled else CONNECTIONS_OF_A_WORKER),
        redis_cores=redis_cores,
        redis_servers=math.ceil(redis_cores / load.utilisation),
        redis_commands_per_second=used(Resource.REDIS_COMMANDS),
    )


def predicted(
    costs: Costs, resource: Resource, load: Load, *, runs: float, seconds: float, workers: int
) -> float:
    """Used of a resource by so many runs in so long a time, idle workers' part included."""
    cost = costs.of[resource]
    used = runs * cost.of_a_run(load) + seconds * workers * cost.worker_second
    if resource is Resource.DATABASE_TRANSACTIONS:
        return min(used, seconds * workers * costs.busy_transactions)
    return used


def _workers_by_cpu(load: Load, costs: Costs) -> int:
    """A worker's core is busy by itself, too, for a part that is no use to runs."""
    cost = costs.of[Resource.WORKER_CPU]
    useful = load.utilisation - cost.worker_second
    if useful <= 0:
        problem = Problem(
            place="utilisation", found=f"{load.utilisation:g}",
            wanted=f"above {cost.worker_second:g}, which a worker uses that has nothing to do",
        )  # fmt: skip
        raise InvalidInput("workers would have no time for runs", problems=[problem])
    return max(1, math.ceil(load.runs_per_second * cost.of_a_run(load) / useful))
