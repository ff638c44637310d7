"""Runs that are moved to another version while they wait. See ports.MovingStore.

Under the run's lock. Whoever claims it comes before, and is in the way, or after, and finds the
version by which it goes on: its row names that, so there is nothing in between.
"""

from __future__ import annotations

from typing import Any

from orchestrator.core.saga import current
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import JobItem, JobItemState, Redelivery, RunRecord, hop_ids_at
from orchestrator.ports.moving import MIGRATED, RunMove
from orchestrator.store import codec, rows, writes
from orchestrator.store.jobs import Marks
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import HELD
from orchestrator.store.transactions import Tx


class Moving(Part):
    """The moving part of the store."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes, self._marks = Notes(shared), Marks(shared)
        self._look = self._sql(
            f"SELECT owner, epoch, audit_seq, status, cancel_wish, {HELD} FROM runs"
            " WHERE id = :run_id {for_update}"
        )
        self._move = self._sql(
            "UPDATE runs SET workflow_id = :workflow_id, version = :version, path = :path,"
            " inputs = :inputs, status = :status, step = :step, hop_id = :hop_id,"
            " parent_hop_id = :parent_hop_id, wake_at = CASE WHEN :keeps THEN wake_at END,"
            " published_at = CASE WHEN :due THEN {now} ELSE published_at END"
            f" WHERE id = :run_id RETURNING {rows.redelivery(self._dialect)}"
        )
        self._forget = self._sql(
            "DELETE FROM run_steps WHERE run_id = :run_id AND direction = 'forward'"
            " AND step >= :ahead"
        )
        self._links = writes.LINKS.bulk(self._dialect)
        self._withdraw = writes.WITHDRAWAL.bulk(self._dialect)

    async def migrate_run(self, move: RunMove, *, item: JobItem | None = None) -> Redelivery | None:
        """See MovingStore."""
        return await self._db.write(lambda tx: self._migrate(tx, move, item))

    async def _migrate(self, tx: Tx, move: RunMove, item: JobItem | None) -> Redelivery | None:
        run, saga, at = move.run, move.saga, current(move.saga)
        assert at is not None, "a run that was moved has something ahead"
        found = await tx.row(self._look, run_id=run.id)
        if found is None:
            raise not_found("run", run.id, "the whole id of a run")
        check_unchanged(run, *found[:4], wish=found[4], held=bool(found[5]))
        is_due = saga.status is RunStatus.RUNNING
        hop_id, parent_hop_id = hop_ids_at(run.id, saga, at)
        if not move.keeps:
            await tx.change(self._forget, run_id=run.id, ahead=move.ahead)
            await tx.apply(self._withdraw, [(run.id,)])
        row = await tx.row(
            self._move, run_id=run.id, workflow_id=move.workflow_id, version=move.version,
            path=rows.path_text(saga.path), inputs=codec.dump_payload(move.inputs),
            status=str(saga.status), step=saga.path.steps[at[0]], hop_id=hop_id,
            parent_hop_id=parent_hop_id, keeps=move.keeps, due=is_due,
        )  # fmt: skip
        links = list(writes.link_rows_of(run.id, move.links, self._dialect))
        if links:
            await tx.apply(self._links, links)
        await self._notes.note(tx, run.id, MIGRATED, by=move.by, data=move.data)
        if item is not None:
            await self._marks.mark(tx, item, JobItemState.DONE)
        return rows.redelivery_of(row, "migrated") if is_due else None


def check_unchanged(
    run: RunRecord, owner: str | None, epoch: int, audit_seq: int, status: Any, *,
    wish: str | None, held: bool,
) -> None:  # fmt: skip
    """Raises Conflict unless the row is as the record says, and nothing else is in the way."""
    if owner is not None:
        raise _refused(run, f"in the hands of {owner}", "a run that nobody works on: pause it")
    if wish is not None:
        raise _refused(run, "it is to be cancelled", "a run that goes forward")
    if held:
        raise _refused(
            run, f"an approval of its begin by version {run.version} is open",
            "a run that may begin: decide about it first",
        )  # fmt: skip
    if (epoch, audit_seq, status) != (run.epoch, run.audit_seq, run.status):
        raise _refused(
            run, f"{status}, audit record {audit_seq}",
            f"as it was when it was read: {run.status}, audit record {run.audit_seq}",
        )  # fmt: skip


def _refused(run: RunRecord, found: str, wanted: str) -> Conflict:
    problem = Problem(place=f"run {run.id}", found=found, wanted=wanted)
    return Conflict("the run cannot be moved", problems=[problem])
