"""Which fault comes when: the same for a seed each time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

SHORTEST_GAP, LONGEST_GAP = 2.0, 5.0
"""Between the begins of two faults, in seconds."""
QUIET_AFTER_A_KILL = 4.5
"""A killed worker's runs must be able to show how soon they went on before the next fault."""


class Kind(StrEnum):
    """What is done."""

    KILL = "worker_killed"  # SIGKILL; the supervisor starts another one
    FREEZE = "worker_frozen"  # SIGSTOP until others have called it dead, then SIGCONT
    FLUSH = "broker_flushed"  # FLUSHALL: queues, limits, slots
    EMPTY_RESTART = "broker_restarted_empty"  # SIGKILL, its file gone, the same port again
    PURGE = "queues_purged"
    SESSIONS = "sessions_terminated"  # every connection to PostgreSQL
    RESTART = "database_restarted"  # PostgreSQL, immediate shutdown
    AWAY = "api_away"  # it cuts every connection
    BUSY = "api_busy"  # 429 with Retry-After for everything
    LOWERED = "api_limit_lowered"  # to half, without a word: 429 for what is more
    TOKENS = "tokens_ended"  # long before the time that they were given out for
    CRASH = "broker_crashed"  # SIGKILL, and it starts again with what it had on its disk
    CUT = "broker_cut"  # workers' connections to it stay open, and nothing arrives
    FULL = "broker_full"  # its memory alarm: publishers are held up
    LOCK = "database_locked"  # SQLite: somebody else holds the write lock


ALWAYS = (
    Kind.KILL, Kind.KILL, Kind.FREEZE, Kind.FLUSH, Kind.EMPTY_RESTART, Kind.PURGE,
    Kind.AWAY, Kind.BUSY, Kind.LOWERED, Kind.TOKENS,
)  # fmt: skip
BY_DATABASE = {
    "postgres": (Kind.SESSIONS, Kind.RESTART),
    "pgbouncer": (Kind.SESSIONS, Kind.RESTART),
    "sqlite": (Kind.LOCK,),
}
BY_BROKER = {"redis": (), "rabbitmq": (Kind.CRASH, Kind.CUT, Kind.FULL)}
"""With RabbitMQ `broker_flushed` concerns the gate's server."""

LASTS = {
    Kind.FREEZE: (8.0, 10.0),
    Kind.EMPTY_RESTART: (0.0, 2.0),
    Kind.RESTART: (0.0, 2.0),
    Kind.CRASH: (0.0, 2.0),
    Kind.CUT: (3.0, 10.0),
    Kind.FULL: (3.0, 8.0),
    Kind.AWAY: (3.0, 8.0),
    Kind.BUSY: (2.0, 5.0),
    Kind.LOWERED: (4.0, 8.0),
    Kind.LOCK: (2.0, 12.0),  # longer than a worker may be silent, and than a writer waits
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One fault. Times in seconds from the begin of the first."""

    at: float
    kind: Kind
    worker: int = 0  # 0-based: which one, where it concerns one
    lasts: float = 0.0


def schedule(
    seed: int, *, seconds: float, database: str, workers: int = 2, broker: str = "redis"
) -> tuple[Planned, ...]:
    """Faults for this long. Each kind comes once before any comes again; kills come twice."""
    chance = random.Random(f"faults {seed}")
    turns = itertools.cycle(range(workers))
    kinds = _endless(chance, (*ALWAYS, *BY_DATABASE[database], *BY_BROKER[broker]))
    at, planned = chance.uniform(SHORTEST_GAP, LONGEST_GAP), []
    while at < seconds:
        kind = next(kinds)
        lasts = chance.uniform(*LASTS.get(kind, (0.0, 0.0)))
        # In turn: one that was started a moment ago has nothing to lose.
        worker = next(turns) if kind in (Kind.KILL, Kind.FREEZE) else 0
        planned.append(Planned(at=at, kind=kind, worker=worker, lasts=round(lasts, 1)))
        shortest = QUIET_AFTER_A_KILL if kind is Kind.KILL else SHORTEST_GAP
        at += chance.uniform(shortest, LONGEST_GAP)
    return tuple(planned)


def _endless(chance: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    while True:
        yield from chance.sample(kinds, len(kinds))
