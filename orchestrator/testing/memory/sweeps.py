"""Workers and their signs of life; dead workers' runs, waits that are over, lost hints; counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.core.states import TIMED, Direction, RunStatus
from orchestrator.ports import QueueCounts, Redelivery, WorkerRecord
from orchestrator.store.codec import storable
from orchestrator.store.recovering import RECOVERED
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.records import redelivery_of
from orchestrator.testing.memory.tables import HINTED, MemoryDatabase, RunRow, WorkerRow


def register(database: MemoryDatabase, worker: WorkerRecord) -> None:
    """With the database's time; again: a sign of life."""
    now = database.clock()
    known = database.workers.get(worker.id)
    if known is not None:
        known.heartbeat_at = now
        return
    database.workers[worker.id] = WorkerRow(
        id=worker.id, name=storable(worker.name), pid=worker.pid, started_at=now, heartbeat_at=now,
        active_runs=worker.active_runs, reserved=worker.reserved, version=worker.version,
    )  # fmt: skip


def heartbeat(database: MemoryDatabase, worker_id: str, *, active_runs: int, reserved: int) -> bool:
    """False: the row is gone."""
    row = database.workers.get(worker_id)
    if row is None:
        return False
    row.heartbeat_at, row.active_runs, row.reserved = database.clock(), active_runs, reserved
    return True


def recover_dead(
    database: MemoryDatabase, *, dead_after_seconds: float, also_dead: Sequence[str], limit: int
) -> list[Redelivery]:
    """Dead workers' rows go; their runs are freed with a new epoch. See Recovering."""
    before = database.clock() - timedelta(seconds=dead_after_seconds)
    overdue = [row.id for row in database.workers.values() if row.heartbeat_at < before]
    for worker_id in (*overdue, *also_dead):
        database.workers.pop(worker_id, None)
    orphaned = sorted(owner for owner in database.owned if owner not in database.workers)
    return free_runs_of(database, orphaned, limit, "worker dead") if orphaned else []


def deregister(database: MemoryDatabase, worker_id: str) -> list[Redelivery]:
    """A worker that ends by itself: its row and all of its runs."""
    database.workers.pop(worker_id, None)
    return free_runs_of(database, [worker_id], None, "handed back")


def free_runs_of(
    database: MemoryDatabase, dead: Iterable[str], most: int | None, why: str
) -> list[Redelivery]:
    """Up to `most` runs of these workers, in order of their ids."""
    now = database.clock()
    theirs = [row for worker_id in dead for row in database.owned.get(worker_id, {}).values()]
    theirs.sort(key=lambda row: row.id)
    freed = theirs[:most]
    for row in freed:
        _free(database, row, now, why)
    return [
        redelivery_of(row, why, now)
        for row in freed
        if row.published_at is not None and row.status in HINTED
    ]


def _free(database: MemoryDatabase, row: RunRow, now: datetime, why: str) -> None:
    """What waits for a later time needs no hint now, unless it is to be cancelled."""
    data = {"from": row.owner, "why": why}
    if row.status in TIMED and row.cancel_wish is not None:
        row.wake_at = now
    waits = row.status in TIMED and row.wake_at is not None and row.wake_at > now
    row.owner = None
    row.epoch += 1
    row.published_at = None if waits else now
    note(row, RECOVERED, by="engine", data=data, now=now)
    database.shelve(row)


def take_due(database: MemoryDatabase, *, limit: int) -> list[Redelivery]:
    """Waits that are over."""
    now = database.clock()
    return marked(database, database.take_woken(now, limit), now, "due")


def due_in_seconds(database: MemoryDatabase) -> float | None:
    """Until the next that sleeps is due; None: nobody sleeps."""
    times = [row.wake_at for row in database.sleeping.values() if row.wake_at]
    return (min(times) - database.clock()).total_seconds() if times else None


def recall(database: MemoryDatabase, run_ids: Sequence[str]) -> list[Redelivery]:
    """Parked runs that come back before their time."""
    now = database.clock()
    known = [database.runs[run_id] for run_id in dict.fromkeys(run_ids) if run_id in database.runs]
    found = [row for row in known if row.sleeping and row.status is RunStatus.PARKED]
    for row in found:
        row.wake_at = now
    return marked(database, found, now, "recalled")


def take_lost(database: MemoryDatabase, *, silent_seconds: float, limit: int) -> list[Redelivery]:
    """Hints that nobody took up."""
    now = database.clock()
    found = database.take_silent(now - timedelta(seconds=silent_seconds), limit)
    return marked(database, found, now, "lost")


def marked(
    database: MemoryDatabase, rows: Sequence[RunRow], now: datetime, why: str
) -> list[Redelivery]:
    """They are told of from now on."""
    for row in rows:
        row.published_at = now
        database.shelve(row)
    return [redelivery_of(row, why, now) for row in rows]


# --- counts ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Count:
    due: int = 0
    owned: int = 0
    parked: int = 0
    since: datetime | None = None

    def count_due(self, since: datetime | None) -> None:
        self.due += 1
        if since is not None and (self.since is None or since < self.since):
            self.since = since


def queue_counts(database: MemoryDatabase) -> list[QueueCounts]:
    """By lane, forward before backward."""
    now = database.clock()
    counts: dict[tuple[str, Direction], _Count] = {}

    def of(row: RunRow) -> _Count:
        return counts.setdefault((row.lane, row.direction), _Count())

    for row in database.announced.values():
        of(row).count_due(row.published_at)
    for row in database.sleeping.values():
        assert row.wake_at is not None
        if row.wake_at <= now:
            of(row).count_due(row.wake_at)
        else:
            of(row).parked += 1
    for theirs in database.owned.values():
        for row in theirs.values():
            of(row).owned += 1
    in_order = sorted(
        counts.items(), key=lambda item: (item[0][0], item[0][1] != Direction.FORWARD)
    )
    return [
        QueueCounts(
            lane=lane, direction=direction, due=count.due, owned=count.owned, parked=count.parked,
            oldest_due_seconds=_age(count.since, now),
        )
        for (lane, direction), count in in_order
    ]  # fmt: skip


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max((now - since).total_seconds(), 0.0)
