"""Runs that are moved to another version while they wait."""

from __future__ import annotations

from orchestrator.core.saga import current
from orchestrator.core.states import Direction, RunStatus
from orchestrator.ports import JobItem, JobItemState, Redelivery, RunWrite, hop_ids_at
from orchestrator.ports.moving import MIGRATED, RunMove
from orchestrator.store.codec import dump
from orchestrator.store.moving import check_unchanged
from orchestrator.testing.memory import jobs
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.journal import withdraw, write_details
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.records import not_found, redelivery_of
from orchestrator.testing.memory.tables import MemoryDatabase, place_of
from orchestrator.testing.memory.versions import workflow_by_id


class MemoryMoves(Passing):
    """Implements ports.MovingStore."""

    async def migrate_run(self, move: RunMove, *, item: JobItem | None = None) -> Redelivery | None:
        """See MovingStore."""
        return await self._pass("migrate_run", lambda: _migrate(self.database, move, item))


def _migrate(database: MemoryDatabase, move: RunMove, item: JobItem | None) -> Redelivery | None:
    run, saga, at = move.run, move.saga, current(move.saga)
    assert at is not None, "a run that was moved has something ahead"
    row = database.runs.get(run.id)
    if row is None:
        raise not_found("run", run.id, "the whole id of a run")
    held = any(wait.closed_at is None and wait.attempt == 0 for wait in row.waits)
    check_unchanged(
        run, row.owner, row.epoch, row.audit_seq, row.status, wish=row.cancel_wish, held=held
    )
    if item is not None:
        jobs.mark(database, item, JobItemState.DONE)
    now = database.clock()
    workflow_by_id(database, move.workflow_id)  # known from now on
    if not move.keeps:
        forgotten = place_of(move.ahead, Direction.FORWARD)
        for place in [
            each for each in row.links if each >= forgotten and each % 2 == forgotten % 2
        ]:
            del row.links[place]
        withdraw(row, now)
        row.wake_at = None
    row.workflow_id, row.version, row.path = move.workflow_id, move.version, saga.path
    row.inputs, row.status, row.step = dump(move.inputs), saga.status, saga.path.steps[at[0]]
    row.hop_id, row.parent_hop_id = hop_ids_at(run.id, saga, at)
    if saga.status is RunStatus.RUNNING:
        row.published_at = now
    write = RunWrite(run_id=run.id, owner="", epoch=0, saga=saga, links=move.links)
    write_details(database, row, write, now, shift=0)
    note(row, MIGRATED, by=move.by, data=move.data, now=now)
    database.shelve(row)
    return redelivery_of(row, "migrated", now) if saga.status is RunStatus.RUNNING else None
