"""The sweeps: dead workers' runs, waits that are over, lost hints; and the counts of what waits.

Each sweep finds its rows by a partial index, marks them and returns them in one statement, with a
limit. Rows that another sweep has locked are skipped, so two sweeps never return the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core import states
from orchestrator.core.states import Direction
from orchestrator.ports import QueueCounts, Redelivery
from orchestrator.store import codec, rows
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ANNOUNCED, OWNED, SLEEPING, TIMED
from orchestrator.store.transactions import Tx

RECOVERED = "run.recovered"
"""Audit kind: a run was taken from the worker that had it; what it was at may be in doubt."""
_NO_LIMIT = 2**31 - 1
_HINTED = states.DUE | states.TIMED


class Recovering(Part):
    """The recovering part of ports.WorkerStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        dead = self._dialect.batch({"id": "text"})
        redelivery = rows.redelivery(self._dialect)
        overdue = "SELECT id FROM workers WHERE heartbeat_at < "
        self._overdue = self._sql(overdue + self._ago("seconds"))
        # Owners without a row: one hop along the index for each owner, not one for each run.
        orphaned = (
            "WITH RECURSIVE known(owner) AS (SELECT min(owner) FROM runs WHERE owner IS NOT NULL"
            " UNION ALL SELECT (SELECT min(runs.owner) FROM runs WHERE runs.owner > known.owner)"
            " FROM known WHERE known.owner IS NOT NULL)"
            " SELECT owner FROM known WHERE owner IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = known.owner)"
        )
        self._orphaned = self._sql(orphaned)
        # Row by row RETURNING can only tell the owner of afterwards, so it is asked for before.
        self._owned = self._sql(
            "SELECT id, owner FROM runs WHERE owner IN"
            f" (SELECT b.id FROM {dead} AS b) ORDER BY id LIMIT :most {{skip_locked}}"
        )
        # What waits for a later time needs no hint now: `take_due` gives it when its time has come.
        # A wish to cancel does not wait: whom it was told to is dead.
        waits = f"{TIMED} AND cancel_wish IS NULL AND wake_at > {{now}}"
        self._free = self._sql(
            "UPDATE runs SET owner = NULL, epoch = epoch + 1, audit_seq = audit_seq + 1,"
            f" wake_at = CASE WHEN {TIMED} AND cancel_wish IS NOT NULL THEN {{now}}"
            " ELSE wake_at END,"
            f" published_at = CASE WHEN {waits} THEN NULL ELSE {{now}} END"
            f" WHERE id IN (SELECT b.id FROM {dead} AS b)"
            f" RETURNING {redelivery}, runs.published_at, runs.status, runs.audit_seq"
        )
        self._notes = Notes(shared)
        # Asked again here whether it is overdue: it may have beaten since, and trusts that.
        self._bury = self._sql(
            f"DELETE FROM workers WHERE id IN (SELECT b.id FROM {dead} AS b) OR heartbeat_at < "
            + self._ago("seconds")
        )
        self._leave = self._sql("DELETE FROM workers WHERE id = :id")
        mark = "UPDATE runs SET published_at = {now} WHERE id IN (SELECT id FROM runs WHERE "
        self._due = self._sql(
            f"{mark}{SLEEPING} AND wake_at <= {{now}} ORDER BY wake_at LIMIT :most {{skip_locked}})"
            f" RETURNING {redelivery}"
        )
        self._next = self._sql(
            f"SELECT wake_at, {{clock}} FROM runs WHERE {SLEEPING} ORDER BY wake_at LIMIT 1"
        )
        self._recall = self._sql(
            "UPDATE runs SET published_at = {now}, wake_at = {now} WHERE id IN (SELECT id FROM runs"
            f" WHERE id IN (SELECT b.id FROM {dead} AS b) AND {SLEEPING} AND status = 'parked'"
            f" ORDER BY id {{skip_locked}}) RETURNING {redelivery}"
        )
        silent = f"{ANNOUNCED} AND published_at < "
        self._lost = self._sql(
            f"{mark}{silent}{self._ago('seconds')} ORDER BY published_at LIMIT :most"
            f" {{skip_locked}}) RETURNING {redelivery}"
        )
        self._counts = self._sql(
            "SELECT lane, direction, sum(due), sum(owned), sum(parked), min(since), {clock} FROM ("
            "SELECT lane, direction, count(*) AS due, 0 AS owned, 0 AS parked,"
            f" min(published_at) AS since FROM runs WHERE {ANNOUNCED} GROUP BY lane, direction"
            " UNION ALL SELECT lane, direction, count(*), 0, 0, min(wake_at) FROM runs"
            f" WHERE {SLEEPING} AND wake_at <= {{now}} GROUP BY lane, direction"
            " UNION ALL SELECT lane, direction, 0, 0, count(*), NULL FROM runs"
            f" WHERE {SLEEPING} AND wake_at > {{now}} GROUP BY lane, direction"
            " UNION ALL SELECT lane, direction, 0, count(*), 0, NULL FROM runs"
            f" WHERE {OWNED} GROUP BY lane, direction"
            ") AS counted GROUP BY lane, direction ORDER BY lane, direction DESC"
        )

        self.looks = {
            "dead": f"SELECT 1 WHERE EXISTS ({overdue}{self._ago('dead_after')})"
            f" OR EXISTS ({orphaned})",
            "lost": f"SELECT 1 FROM runs WHERE {silent}{self._ago('lost_after')}",
        }

    def _ago(self, parameter: str) -> str:
        return self._dialect.later("{now}", f"-CAST(:{parameter} AS {{real}})")

    async def recover_dead(
        self, *, dead_after_seconds: float, also_dead: Sequence[str] = (), limit: int = 500
    ) -> list[Redelivery]:
        """Remove dead workers' rows; give their runs a new epoch, unowned and published_at = now.

        Dead: heartbeat overdue, named in `also_dead` (their lock is free), or an owner without a
        row. The row goes first, whatever the limit: the next heartbeat then says so to a process
        that lives after all, before it trusts itself with runs that others have. Runs that wait for
        a later time or are paused are freed too, and not returned: they need no hint now. Each is
        audited.
        """
        overdue = await self._db.rows(self._overdue, seconds=dead_after_seconds)
        if not (also_dead or overdue or await self._db.rows(self._orphaned)):
            return []
        named = codec.dump_batch([(worker_id,) for worker_id in sorted(set(also_dead))])

        async def recover(tx: Tx) -> list[Redelivery]:
            await tx.change(self._bury, batch=named, seconds=dead_after_seconds)
            orphaned = await tx.rows(self._orphaned)
            dead = codec.dump_batch([(row[0],) for row in orphaned])
            return await self._free_runs(tx, dead, limit, "worker dead") if orphaned else []

        return await self._db.write(recover)

    async def release_all_of(self, worker_id: str) -> list[Redelivery]:
        """The runs of one worker that ends by itself, and its row."""
        batch = codec.dump_batch([(worker_id,)])

        async def release(tx: Tx) -> list[Redelivery]:
            await tx.change(self._leave, id=worker_id)
            return await self._free_runs(tx, batch, _NO_LIMIT, "handed back")

        return await self._db.write(release)

    async def take_due(self, *, limit: int = 500) -> list[Redelivery]:
        """Waiting and parked runs whose time has come: mark published_at = now, return them."""
        found = await self._db.write_rows(self._due, most=limit)
        return [rows.redelivery_of(row, "due") for row in found]

    async def due_in_seconds(self) -> float | None:
        """Until the next of those that sleep is due; 0 or less: some are. None: nobody sleeps."""
        for wake_at, now in await self._db.rows(self._next):
            return (codec.instant(wake_at) - codec.instant(now)).total_seconds()
        return None

    async def recall(self, run_ids: Sequence[str]) -> list[Redelivery]:
        """Parked runs that are to come back now, before their time."""
        if not run_ids:
            return []
        batch = codec.dump_batch([(run_id,) for run_id in run_ids])
        found = await self._db.write_rows(self._recall, batch=batch)
        return [rows.redelivery_of(row, "recalled") for row in found]

    async def take_lost(self, *, silent_seconds: float, limit: int) -> list[Redelivery]:
        """Due, unowned runs not published for `silent_seconds`: mark and return them."""
        found = await self._db.write_rows(self._lost, seconds=silent_seconds, most=limit)
        return [rows.redelivery_of(row, "lost") for row in found]

    async def queue_counts(self) -> list[QueueCounts]:
        """Per lane and direction."""
        return [
            QueueCounts(
                lane=row[0], direction=Direction(row[1]), due=int(row[2]), owned=int(row[3]),
                parked=int(row[4]), oldest_due_seconds=_age(row[5], row[6]),
            )
            for row in await self._db.rows(self._counts)
        ]  # fmt: skip

    async def _free_runs(self, tx: Tx, batch: str, most: int, why: str) -> list[Redelivery]:
        owners = {row[0]: row[1] for row in await tx.rows(self._owned, batch=batch, most=most)}
        ids = codec.dump_batch([(run_id,) for run_id in owners])
        freed = await tx.rows(self._free, batch=ids) if owners else ()
        await self._notes.note_numbered(tx, [
            (row[0], row[11], RECOVERED, "engine", {"from": owners[row[0]], "why": why})
            for row in freed
        ])  # fmt: skip
        return [
            rows.redelivery_of(row, why)
            for row in freed
            if row[9] is not None and row[10] in _HINTED
        ]


def _age(since: Any, now: Any) -> float | None:
    if since is None:
        return None
    seconds = (codec.instant(now) - codec.instant(since)).total_seconds()
    return max(seconds, 0.0)
