"""The dead-letter table of record, and what people do about its rows."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    OPEN_ONES,
    ActWrite,
    ClaimedRun,
    EscalationFilter,
    EscalationRecord,
    JobItem,
    JobItemState,
    Redelivery,
    RunWrite,
)
from orchestrator.store import codec, rows, writes
from orchestrator.store.cancelling import Cancelling
from orchestrator.store.choosing import FROM_ESCALATIONS, due_at, escalations_chosen
from orchestrator.store.finding import Finder
from orchestrator.store.jobs import Marks
from orchestrator.store.journal import Journal
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import OPEN
from orchestrator.store.transactions import Tx


class Escalations(Part):
    """Implements ports.EscalationStore. Whoever changes one locks its run first."""

    def __init__(self, shared: Shared, journal: Journal, cancelling: Cancelling) -> None:
        super().__init__(shared)
        self._journal, self._notes, self._marks = journal, Notes(shared), Marks(shared)
        self._cancelling = cancelling
        read = f"SELECT {rows.ESCALATION} {FROM_ESCALATIONS}"
        self._find = Finder(
            self._dialect, what="escalation", select=read, table="escalations", column="e.id",
            unfinished=[OPEN],
        )  # fmt: skip
        self._read = read
        self._of_run = self._sql(f"{read} WHERE e.run_id = :run_id ORDER BY e.id")
        self._unclaimed = self._sql(
            "SELECT id FROM escalations WHERE closed_at IS NULL AND claimed_by IS NULL ORDER BY id"
        )
        self._lock_run = self._sql(
            "SELECT runs.status, runs.owner, runs.epoch, runs.audit_seq FROM runs WHERE id ="
            " (SELECT run_id FROM escalations WHERE id = :id) {for_update}"
        )
        self._exact = self._sql(f"{read} WHERE e.id = :id")
        # Of no seconds it is no time: NULL, for ever.
        until = self._dialect.later("{now}", "CAST(:for_seconds AS {real})")
        take = (
            "UPDATE escalations SET claimed_by = :to, claimed_at = {now},"
            f" claimed_until = {until} WHERE id = :id AND closed_at IS NULL"
        )
        self._claim = self._sql(f"{take} AND claimed_by IS NULL")
        self._assign = self._sql(take)
        expired = "SELECT id FROM escalations WHERE closed_at IS NULL AND claimed_until <= {now}"
        self._expired = self._sql(f"{expired} ORDER BY id LIMIT :most")
        self.looks = {"unclaimed": expired}
        self._expire = self._sql(
            "UPDATE escalations SET claimed_by = NULL, claimed_at = NULL, claimed_until = NULL"
            " WHERE id = :id AND closed_at IS NULL AND claimed_until <= {now}"
        )
        self._release = self._sql(
            "UPDATE escalations SET claimed_by = NULL, claimed_at = NULL, claimed_until = NULL"
            " WHERE id = :id AND closed_at IS NULL AND claimed_by IS NOT NULL"
        )
        self._close = self._sql(
            "UPDATE escalations SET closed_at = {now}, resolution = :resolution, closed_by = :by,"
            " closing_reason = :reason WHERE id = :id AND closed_at IS NULL"
        )
        self._run_row = self._sql(f"SELECT {rows.RUN} FROM runs WHERE id = :run_id")
        self._links = self._sql(f"SELECT {rows.LINK} FROM run_steps WHERE run_id = :run_id")
        self._withdraw = writes.WITHDRAWAL.bulk(self._dialect)
        self._apply = self._dialect.bulk(
            {**writes.RUN_COLUMNS, "expected": "int"},
            f"UPDATE runs SET {writes.SET_RUN}, epoch = b.epoch,"
            f" audit_head = {writes.next_head(self._dialect)},"
            " settled_at = CASE WHEN b.settled THEN {now} END,"
            " audit_seq = COALESCE(b.last_seq, runs.audit_seq)",
            where="runs.id = b.run_id AND runs.status = 'escalated' AND runs.owner IS NULL"
            " AND runs.epoch = b.expected",
        )

    # --- look -------------------------------------------------------------------------------------

    async def escalation(self, escalation_id: str) -> EscalationRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        found = await self._db.read(lambda tx: self._find.find(tx, escalation_id))
        return rows.escalation_of(found)

    async def escalations(self, which: EscalationFilter = OPEN_ONES) -> list[EscalationRecord]:
        """Those that the filter names, oldest first."""
        chosen, parameters = escalations_chosen(which, self._dialect)
        most = "" if which.limit is None else " LIMIT :most"
        if which.limit is not None:
            parameters["most"] = which.limit
        order = "e.id"
        if which.order_by_due and which.due_seconds is not None:
            # What is never due comes last, on both databases.
            due = due_at(which.due_seconds, self._dialect)
            order = f"CASE WHEN {due} IS NULL THEN 1 ELSE 0 END, {due}, e.id"
        page = self._sql(f"{self._read} WHERE {chosen} ORDER BY {order}{most}")
        return [rows.escalation_of(row) for row in await self._db.rows(page, **parameters)]

    async def escalations_of(self, run_id: str) -> list[EscalationRecord]:
        """All of one run, open and closed, oldest first."""
        return [rows.escalation_of(row) for row in await self._db.rows(self._of_run, run_id=run_id)]

    async def open_unclaimed(self) -> list[str]:
        """Ids that must be on the broker's dead-letter queue."""
        return [row[0] for row in await self._db.rows(self._unclaimed)]

    async def escalated_run(self, escalation_id: str) -> tuple[EscalationRecord, ClaimedRun]:
        """The escalation with its run and steps, as one snapshot. Raises NotFound."""

        async def work(tx: Tx) -> tuple[EscalationRecord, ClaimedRun]:
            escalation = rows.escalation_of(await self._find.find(tx, escalation_id))
            run = rows.run_of(await tx.row(self._run_row, run_id=escalation.run_id))
            plans = await self._shared.outlines(tx, [run.workflow_id])
            links = await tx.rows(self._links, run_id=run.id)
            steps = rows.steps_of(plans[run.workflow_id], run.path, links)
            return escalation, ClaimedRun(run=run, steps=steps)

        return await self._db.read(work)

    # --- act --------------------------------------------------------------------------------------

    async def claim_escalation(
        self, escalation_id: str, *, by: str, for_seconds: float | None = None
    ) -> EscalationRecord:
        """Take one that is open and unclaimed, audited. Raises Conflict naming who has it."""

        async def work(tx: Tx) -> EscalationRecord:
            await self._locked_run(tx, escalation_id)
            before = await self._record(tx, escalation_id)
            to = codec.storable(by)
            if not await tx.change(self._claim, id=escalation_id, to=to, for_seconds=for_seconds):
                raise _moved_on(before, "open and claimed by nobody")
            return await self._noted(tx, before, "escalation.claimed", by)

        return await self._db.write(work)

    async def assign_escalation(
        self,
        escalation_id: str,
        *,
        to: str,
        by: str,
        for_seconds: float | None = None,
        seen: EscalationRecord | None = None,
    ) -> EscalationRecord:
        """Give one that is open to somebody, whoever has it, audited. Raises Conflict, NotFound."""

        async def work(tx: Tx) -> EscalationRecord:
            await self._locked_run(tx, escalation_id)
            before = await self._record(tx, escalation_id)
            _require_as_seen(before, seen)
            name = codec.storable(to)
            if not await tx.change(
                self._assign, id=escalation_id, to=name, for_seconds=for_seconds
            ):
                raise _moved_on(before, "open")
            more = {"to": to, "from": before.claimed_by}
            return await self._noted(tx, before, "escalation.assigned", by, **more)

        return await self._db.write(work)

    async def comment_escalation(self, escalation_id: str, text: str, *, by: str) -> None:
        """Add a remark to the audit of its run, also when it is closed. Raises NotFound."""

        async def work(tx: Tx) -> None:
            await self._locked_run(tx, escalation_id)
            before = await self._record(tx, escalation_id)
            await self._noted(tx, before, "escalation.commented", by, text=text)

        await self._db.write(work)

    async def release_expired_claims(self, *, limit: int = 100) -> list[EscalationRecord]:
        """Give those back whose claim has ended, audited: they are unclaimed from now on."""
        expired = [row[0] for row in await self._db.rows(self._expired, most=limit)]
        given_back = [await self._expire_one(known) for known in expired]
        return [record for record in given_back if record is not None]

    async def _expire_one(self, escalation_id: str) -> EscalationRecord | None:
        """None: somebody else was faster, or it was taken anew."""

        async def work(tx: Tx) -> EscalationRecord | None:
            await self._locked_run(tx, escalation_id)
            before = await self._record(tx, escalation_id)
            if not await tx.change(self._expire, id=escalation_id):
                return None
            more = {"from": before.claimed_by}
            return await self._noted(tx, before, "escalation.claim_ended", "engine", **more)

        return await self._db.write(work)

    async def release_escalation(
        self, escalation_id: str, *, by: str, seen: EscalationRecord | None = None
    ) -> EscalationRecord:
        """Give it back, audited. Raises Conflict when it is closed or not claimed."""

        async def work(tx: Tx) -> EscalationRecord:
            await self._locked_run(tx, escalation_id)
            before = await self._record(tx, escalation_id)
            _require_as_seen(before, seen)
            if not await tx.change(self._release, id=escalation_id):
                raise _moved_on(before, "open and claimed")
            return await self._noted(tx, before, "escalation.released", by)

        return await self._db.write(work)

    async def act(
        self,
        escalation_id: str,
        write: RunWrite,
        *,
        expected_epoch: int,
        resolution: str,
        by: str,
        reason: str,
        seen: EscalationRecord | None = None,
        item: JobItem | None = None,
    ) -> list[Redelivery]:
        """Close the escalation and apply the run's write in one transaction.

        Guarded by: the escalation is open, and the run is escalated, unowned and at
        `expected_epoch`; the run's epoch becomes write.epoch. With `seen`, also by that: nobody has
        taken it or given it back since it was read so. Its audit records get the run's next
        numbers. With `item`, it is done for a job in the same transaction, once. Returns what to
        publish of runs that are stopped with it. Raises Conflict, JobHeld, NotFound.
        """

        act = ActWrite(
            escalation_id=escalation_id, write=write, expected_epoch=expected_epoch,
            resolution=resolution, by=by, reason=reason,
        )  # fmt: skip
        return await self._db.write(lambda tx: self.act_in(tx, act, seen=seen, item=item))

    async def act_in(
        self,
        tx: Tx,
        act: ActWrite,
        *,
        seen: EscalationRecord | None = None,
        item: JobItem | None = None,
    ) -> list[Redelivery]:
        """The same within a transaction, for who has something else to write in it."""
        write, expected_epoch = act.write, act.expected_epoch
        status, owner, epoch, audit_seq = await self._locked_run(tx, act.escalation_id)
        before = await self._record(tx, act.escalation_id)
        _require_as_seen(before, seen)
        closed = await tx.change(
            self._close, id=act.escalation_id, resolution=act.resolution,
            by=codec.storable(act.by), reason=codec.storable(act.reason),
        )  # fmt: skip
        if not closed:
            raise _moved_on(before, "open")
        if before.run_id != write.run_id:
            raise _moved_on(before, f"an escalation of run {write.run_id}")
        numbered = _numbered(write, audit_seq)
        told = writes.told(numbered, self._dialect)
        row = (*writes.run_row(numbered, self._dialect, told.entries), expected_epoch)
        if not await tx.apply(self._apply, [row]):
            raise _run_moved_on(write.run_id, status, owner, epoch, expected_epoch)
        await self._journal.write_details(tx, [numbered], told.rows)
        if item is not None:
            await self._marks.mark(tx, item, JobItemState.DONE)
        if write.withdraws:
            await tx.apply(self._withdraw, [(write.run_id,)])
        if not write.stops_parts:
            return []
        return await self._cancelling.stop_parts_in(tx, write.run_id, reason=act.reason, by=act.by)

    async def _locked_run(self, tx: Tx, escalation_id: str) -> Any:
        row = await tx.row(self._lock_run, id=escalation_id)
        if row is None:
            raise not_found("escalation", escalation_id, "the whole id of an escalation")
        return row

    async def _record(self, tx: Tx, escalation_id: str) -> EscalationRecord:
        return rows.escalation_of(await tx.row(self._exact, id=escalation_id))

    async def _noted(
        self, tx: Tx, before: EscalationRecord, kind: str, by: str, **more: str | None
    ) -> EscalationRecord:
        data = {"escalation": before.id, **more}
        await self._notes.note(tx, before.run_id, kind, by=by, data=data)
        return await self._record(tx, before.id)


def _numbered(write: RunWrite, audit_seq: int) -> RunWrite:
    """The write as a release, its audit records numbered on from what is there by now."""
    audit = tuple(
        replace(record, seq=audit_seq + place) for place, record in enumerate(write.audit, 1)
    )
    return replace(write, audit=audit, release=True)


def _require_as_seen(now: EscalationRecord, seen: EscalationRecord | None) -> None:
    """Raises Conflict for one that has changed since somebody read it."""
    if seen is not None and now != seen:
        raise _moved_on(now, "as it was when it was read")


def _moved_on(before: EscalationRecord, wanted: str) -> Conflict:
    if before.closed_at is not None:
        found = f"closed ({before.resolution}) by {before.closed_by} at {before.closed_at}"
    elif before.claimed_by is not None:
        found = f"claimed by {before.claimed_by} at {before.claimed_at}"
    else:
        found = f"open and claimed by nobody, of run {before.run_id}"
    problem = Problem(place=f"escalation {before.id}", found=found, wanted=wanted)
    return Conflict("the escalation has moved on", problems=[problem])


def _run_moved_on(
    run_id: str, status: str, owner: str | None, epoch: int, expected: int
) -> Conflict:
    problem = Problem(
        place=f"run {run_id}",
        found=f"{status}, epoch {epoch}, {f'owned by {owner}' if owner else 'unowned'}",
        wanted=f"{RunStatus.ESCALATED}, epoch {expected}, unowned",
    )
    return Conflict("the run has moved on since it was read", problems=[problem])
