"""What makes a database that was restored from a backup safe to go on with: ports.RestoreStore.

Runs are read and written in pages while nobody else is at them. A write repeats what was read of
its run (epoch, number of its audit): one which somebody drives after all is refused by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from orchestrator.core.states import ASLEEP, RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import ClaimedRun
from orchestrator.ports.restoring import HighWater, RestoredRun
from orchestrator.store import codec, rows, writes
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import AT_REST, UNDER_WAY
from orchestrator.store.transactions import Tx

RESTORED = "run.restored"
"""Audit kind: the database is an older one; what the run had ahead may have been done since."""
EPOCHS_AHEAD = 1_000_000
"""A run's epoch is raised by it: more than any run was claimed since the backup."""
_RUN = {
    "run_id": "text", "epoch": "int", "audit_seq": "int", "status": "text", "sleeps": "bool",
}  # fmt: skip


class Restoring(Part):
    """The restoring part of the store."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes = Notes(shared)
        self._page = self._sql(
            f"SELECT {rows.RUN} FROM runs WHERE id > :after AND ({UNDER_WAY}"
            f" OR ({AT_REST} AND standing IN ('paused', 'escalated'))) ORDER BY id LIMIT :most"
        )
        self._links = self._sql(
            f"SELECT {rows.LINK} FROM run_steps WHERE run_id IN"
            f" (SELECT b.wanted FROM {self._dialect.batch({'wanted': 'text'})} AS b)"
        )
        batch = self._dialect.batch(_RUN)
        self._raise = self._sql(
            "UPDATE runs SET owner = NULL, claims = 0, status = b.status,"
            f" epoch = runs.epoch + {EPOCHS_AHEAD}, audit_seq = runs.audit_seq + 1,"
            " published_at = CASE WHEN b.sleeps THEN NULL ELSE {now} END"
            f" FROM {batch} AS b WHERE runs.id = b.run_id AND runs.epoch = b.epoch"
            " AND runs.audit_seq = b.audit_seq RETURNING runs.id, runs.audit_seq"
        )
        self._put_links = writes.LINKS.bulk(self._dialect)
        self._forget = self._sql("DELETE FROM workers")
        self._newest = self._sql(
            "SELECT (SELECT max(id) FROM runs), (SELECT max(number) FROM audit_checkpoints)"
        )
        self._deleted = self._sql("SELECT 1 FROM audit_deletions WHERE run_id = :run_id")

    async def restorable(self, *, after: str, limit: int) -> list[ClaimedRun]:
        """Runs that have not ended, by id, beyond `after`; with all their links."""
        return await self._db.read(lambda tx: self._read(tx, after, limit))

    async def restore(self, restored: Sequence[RestoredRun], *, by: str) -> None:
        """Write what was decided of a page of them. All or nothing; raises Conflict."""
        await self._db.write(lambda tx: self._write(tx, restored, by))

    async def forget_workers(self) -> None:
        """No worker is known any more: those that the backup knew are not there."""
        await self._db.write(lambda tx: tx.change(self._forget))

    async def high_water(self) -> HighWater:
        """How far the tables have come."""
        run, checkpoint = (await self._db.rows(self._newest))[0]
        return HighWater(newest_run=run or "", checkpoint=checkpoint or 0)

    async def was_deleted(self, run_id: str) -> bool:
        """Whether a run is not there since it was deleted for its age."""
        return bool(await self._db.rows(self._deleted, run_id=run_id))

    async def _read(self, tx: Tx, after: str, limit: int) -> list[ClaimedRun]:
        found = [rows.run_of(row) for row in await tx.rows(self._page, after=after, most=limit)]
        plans = await self._shared.plans(tx, {run.workflow_id for run in found})
        links: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
        wanted = codec.dump_batch([(run.id,) for run in found])
        for row in await tx.rows(self._links, batch=wanted):
            links[row[0]].append(row)
        return [
            ClaimedRun(
                run=run, steps=rows.steps_of(plans[run.workflow_id], run.path, links[run.id])
            )
            for run in found
        ]

    async def _write(self, tx: Tx, restored: Sequence[RestoredRun], by: str) -> None:
        batch = [
            (each.run_id, each.epoch, each.audit_seq, each.status, _sleeps(each.status))
            for each in restored
        ]
        numbers = dict(await tx.rows(self._raise, batch=codec.dump_batch(batch)))
        for each in restored:
            if each.run_id not in numbers:
                raise _moved_on(each)
        links = [
            row
            for each in restored
            for row in writes.link_rows_of(each.run_id, each.links, self._dialect)
        ]
        if links:
            await tx.apply(self._put_links, links)
        await self._notes.note_numbered(
            tx, [(each.run_id, numbers[each.run_id], RESTORED, by, each.data) for each in restored]
        )


def _sleeps(status: RunStatus) -> bool:
    return status in ASLEEP or status is RunStatus.ESCALATED


def _moved_on(run: RestoredRun) -> Conflict:
    problem = Problem(
        place=f"run {run.run_id}", found="another epoch or audit record than when it was read",
        wanted="a database at which nobody works: stop all workers and faces",
    )  # fmt: skip
    return Conflict("the run has moved on meanwhile", problems=[problem])
