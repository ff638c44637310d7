"""The wish to cancel a run, and its audit."""

from __future__ import annotations

from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import RESUMED, JobItem, JobItemState, Redelivery, RunRecord
from orchestrator.store import codec, rows
from orchestrator.store.codec import instant
from orchestrator.store.holding import Holding
from orchestrator.store.jobs import Marks
from orchestrator.store.notes import Notes, resumed_data
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import CHILD, STOPPED, TIMED, UNENDED
from orchestrator.store.transactions import Tx

_OWNER, _STATUS, _NOW, _SEQ = range(rows.REDELIVERY_WIDTH, rows.REDELIVERY_WIDTH + 4)


class Cancelling(Part):
    """The cancelling part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes, self._marks = Notes(shared), Marks(shared)
        self._holding = Holding(shared)
        self._look = self._sql(
            f"SELECT {rows.redelivery(self._dialect)}, runs.owner, runs.status, {{now}},"
            " runs.audit_seq FROM runs WHERE id = :run_id {for_update}"
        )
        self._wish = self._sql(
            "UPDATE runs SET cancel_wish = :mode, cancel_reason = :reason WHERE id = :run_id"
        )
        self._parts = self._sql(
            f"SELECT id FROM runs WHERE parent_id = :run_id AND {CHILD} AND wait_id IS NOT NULL"
            f" AND {UNENDED} ORDER BY id"
        )
        self._stopped = self._sql(f"SELECT 1 FROM runs WHERE id = :run_id AND {STOPPED}")
        # A paused run goes on, so that a worker takes it up; a waiting one need not wait any more.
        self._wake = self._sql(
            "UPDATE runs SET published_at = {now},"
            f" wake_at = CASE WHEN {TIMED} THEN {{now}} END,"
            " status = CASE WHEN status <> 'paused' THEN status"
            " WHEN direction = 'forward' THEN 'running' ELSE 'compensating' END"
            " WHERE id = :run_id"
        )

    async def request_cancel(
        self,
        run_id: str,
        *,
        mode: CancelMode,
        reason: str,
        by: str,
        item: JobItem | None = None,
        seen: RunRecord | None = None,
    ) -> Redelivery | None:
        """Write the wish (audited) and, if nobody owns the run, make it due at once.

        Returns what to publish, or None when its owner will see the signal, or a pause stops it
        although it is to turn back. With `seen`, only if nothing has happened to the run since it
        was read so. Raises Conflict (for a settled run), JobHeld, NotFound.
        """

        async def work(tx: Tx) -> Redelivery | None:
            row = await tx.row(self._look, run_id=run_id)
            _check(row, run_id, seen)
            if item is not None:
                await self._marks.mark(tx, item, JobItemState.DONE)
            return await self._cancel(tx, row, run_id, mode, reason, by)

        return await self._db.write(work)

    async def stop_parts_in(self, tx: Tx, run_id: str, *, reason: str, by: str) -> list[Redelivery]:
        """The same of all that a run which is ended by a person waits for, within its end: they
        stop where they are. Its row is locked. Maps look at the run that has begun them."""
        found = []
        for (part,) in await tx.rows(self._parts, run_id=run_id):
            row = await tx.row(self._look, run_id=part)
            if row[_STATUS] not in SETTLED:
                found.append(await self._cancel(tx, row, part, CancelMode.STOP, reason, by))
        return [each for each in found if each is not None]

    async def _cancel(
        self, tx: Tx, row: Any, run_id: str, mode: CancelMode, reason: str, by: str
    ) -> Redelivery | None:
        """Of a run that is locked and goes on."""
        await tx.change(self._wish, run_id=run_id, mode=str(mode), reason=codec.storable(reason))
        data = {"mode": mode, "reason": reason}
        await self._notes.note(tx, run_id, "run.cancel_requested", by=by, data=data)
        if row[_OWNER] is not None:
            return None
        if row[_STATUS] == RunStatus.PAUSED:
            await self._holding.withdraw(tx, run_id)
            if await tx.row(self._stopped, run_id=run_id) is not None:
                return None
            resumed = resumed_data(None, instant(row[_NOW]))
            await self._notes.note(tx, run_id, RESUMED, by=by, data=resumed)
        await tx.change(self._wake, run_id=run_id)
        return rows.redelivery_of(row, "cancelled")


def _check(row: Any, run_id: str, seen: RunRecord | None) -> None:
    if row is None:
        raise not_found("run", run_id, "the whole id of a run")
    if row[_STATUS] in SETTLED:
        problem = Problem(
            place=f"run {run_id}",
            found=f"status {row[_STATUS]}",
            wanted="a run that is still going",
        )
        raise Conflict("the run cannot be cancelled any more", problems=[problem])
    if seen is not None and (row[_STATUS], row[_SEQ]) != (seen.status, seen.audit_seq):
        problem = Problem(
            place=f"run {run_id}",
            found=f"status {row[_STATUS]}, audit record {row[_SEQ]}",
            wanted=f"as it was when it was read: {seen.status}, audit record {seen.audit_seq}",
        )
        raise Conflict("the run has moved on since it was read", problems=[problem])
