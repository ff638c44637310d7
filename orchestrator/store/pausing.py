"""Pauses, and the runs that they stop. See ports.PauseStore.

`STOPPED` is the one condition that says whether a pause stops a run; the claim asks it too. So of a
pause and a claim at once one comes first: a claim that begins after the pause was committed is
refused, one before it gives the run to an owner, who hears of the pause within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.states import SETTLED, Direction
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    PAUSED,
    RESUMED,
    JobItem,
    JobItemState,
    NewPause,
    Pause,
    Redelivery,
)
from orchestrator.store import codec, rows
from orchestrator.store.codec import instant, instant_optional, storable
from orchestrator.store.jobs import Marks
from orchestrator.store.notes import Notes, paused_data, resumed_data
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import AT_REST, HELD, HOLDS, IN_FORCE, STOPPED, UNDER_WAY
from orchestrator.store.transactions import Tx

_PAUSE = (
    "id, run_id, workflow, tenant, also_undoing, paused_by, reason, since, until, ended_at,"
    " ended_by, ending_reason"
)
_BY_TIME = "its time was over"


class Pausing(Part):
    """The pausing part of the store."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._notes, self._marks = Notes(shared), Marks(shared)
        self._run = self._sql(
            "SELECT workflow, tenant, status, owner FROM runs WHERE id = :run_id {for_update}"
        )
        until = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        self._add = self._sql(
            f"INSERT INTO pauses (scope, {_PAUSE})"
            " VALUES (:scope, :id, :run_id, :workflow, :tenant, :also_undoing, :by, :reason,"
            f" {{now}}, CASE WHEN CAST(:seconds AS {{real}}) IS NULL THEN NULL ELSE {until} END,"
            f" NULL, NULL, NULL) ON CONFLICT DO NOTHING RETURNING {_PAUSE}"
        )
        self._same = self._sql(f"SELECT {_PAUSE} FROM pauses WHERE scope = :scope AND {HOLDS}")
        self._one = self._sql(f"SELECT {_PAUSE} FROM pauses WHERE id = :id")
        self._active = self._sql(
            f"SELECT {_PAUSE} FROM pauses WHERE {IN_FORCE} ORDER BY id DESC LIMIT :most"
        )
        self.looks = {"paused": f"SELECT 1 FROM pauses WHERE {IN_FORCE}"}
        self._all = self._sql(f"SELECT {_PAUSE} FROM pauses ORDER BY id DESC LIMIT :most")
        ended = "UPDATE pauses SET ended_at = {now}, ended_by = :by, ending_reason = :reason"
        self._end = self._sql(f"{ended} WHERE id = :id AND {HOLDS} RETURNING {_PAUSE}")
        self._end_overdue = self._sql(f"{ended} WHERE {HOLDS} AND pauses.until <= {{now}}")
        hints = self._dialect.batch({"run_id": "text", "epoch": "int"})
        self._stop = self._sql(
            "UPDATE runs SET status = 'paused', published_at = NULL, audit_seq = audit_seq + 1"
            f" WHERE id IN (SELECT runs.id FROM runs JOIN {hints} AS b ON b.run_id = runs.id"
            f" WHERE {{few}} AND runs.owner IS NULL AND COALESCE(b.epoch, runs.epoch) = runs.epoch"
            f" AND {UNDER_WAY} AND {STOPPED} ORDER BY runs.id {{for_update_of_runs}})"
            # Not as one condition: SQLite 3.40 takes `cancel IS NOT NULL` for true in RETURNING.
            " RETURNING runs.id, audit_seq, workflow, tenant, direction, cancel_wish, cancel, {now}"
            ", whole_id"
        )
        later = "wake_at > {now}"
        self._go_on = self._sql(
            f"UPDATE runs SET status = CASE WHEN {later} THEN 'waiting'"
            " WHEN direction = 'forward' THEN 'running' ELSE 'compensating' END,"
            f" published_at = CASE WHEN {later} THEN NULL ELSE {{now}} END,"
            f" wake_at = CASE WHEN {later} THEN wake_at END, audit_seq = audit_seq + 1"
            f" WHERE id IN (SELECT id FROM runs WHERE {AT_REST} AND standing = 'paused'"
            f" AND owner IS NULL AND NOT {STOPPED} AND NOT {HELD} ORDER BY id"
            " LIMIT :most {skip_locked})"
            f" RETURNING {rows.redelivery(self._dialect)}, audit_seq, wake_at, {{now}}"
        )

    # --- pauses -----------------------------------------------------------------------------------

    async def pause(self, new: NewPause, *, item: JobItem | None = None) -> Pause:
        """Make it. No run that it stops can be claimed any more when this is answered."""
        return await self._db.write(lambda tx: self._pause(tx, new, item))

    async def _pause(self, tx: Tx, new: NewPause, item: JobItem | None) -> Pause:
        await tx.change(self._end_overdue, by="engine", reason=_BY_TIME)
        run = None if new.run_id is None else await self._going_run(tx, new.run_id)
        workflow, tenant = (new.workflow, new.tenant) if run is None else (run[0], run[1])
        scope = codec.dump([new.run_id] if run is not None else [None, workflow, tenant])
        row = await tx.row(
            self._add, scope=scope, id=new.id, run_id=new.run_id, workflow=workflow, tenant=tenant,
            also_undoing=new.also_undoing, by=storable(new.by), reason=storable(new.reason),
            seconds=new.seconds,
        )  # fmt: skip
        if row is None:
            raise _paused_already(pause_of(await tx.row(self._same, scope=scope)))
        made = pause_of(row)
        if run is not None:
            await self._stop_one(tx, made, owned=run[3] is not None)
        if item is not None:
            await self._marks.mark(tx, item, JobItemState.DONE)
        return made

    async def _going_run(self, tx: Tx, run_id: str) -> Any:
        """Workflow, tenant, status and owner; the row is locked."""
        run = await tx.row(self._run, run_id=run_id)
        if run is None:
            raise not_found("run", run_id, "the whole id of a run")
        if run[2] in SETTLED:
            problem = Problem(
                place=f"run {run_id}", found=f"status {run[2]}", wanted="a run that is still going"
            )
            raise Conflict("the run cannot be paused any more", problems=[problem])
        return run

    async def _stop_one(self, tx: Tx, made: Pause, *, owned: bool) -> None:
        assert made.run_id is not None
        if owned:
            data = {"pause": made.id, "reason": made.reason}
            await self._notes.note(tx, made.run_id, "run.pause_requested", by=made.by, data=data)
        else:
            await self._stop_these(tx, [(made.run_id, None)])

    async def pauses(self, *, active_only: bool = True, limit: int = 10_000) -> list[Pause]:
        """Newest first."""
        asked = self._active if active_only else self._all
        return [pause_of(row) for row in await self._db.rows(asked, most=limit)]

    async def end_pause(
        self, pause_id: str, *, by: str, reason: str, item: JobItem | None = None
    ) -> Pause:
        """End it. Raises Conflict when it has ended, JobHeld, NotFound."""

        async def work(tx: Tx) -> Pause:
            said = {"id": pause_id, "by": storable(by), "reason": storable(reason)}
            row = await tx.row(self._end, **said)
            if row is None:
                found = await tx.row(self._one, id=pause_id)
                if found is None:
                    raise not_found("pause", pause_id, "the id of a pause")
                raise _ended_already(pause_of(found))
            if item is not None:
                await self._marks.mark(tx, item, JobItemState.DONE)
            return pause_of(row)

        return await self._db.write(work)

    # --- the runs -----------------------------------------------------------------------------

    async def hold_paused(self, hints: Sequence[tuple[str, int]]) -> list[str]:
        """Of these (run id, epoch), those that a pause stops: `paused`. Their ids."""
        if not hints:
            return []
        return await self._db.write(lambda tx: self._stop_these(tx, hints))

    async def _stop_these(self, tx: Tx, hints: Sequence[tuple[str, int | None]]) -> list[str]:
        stopped = await tx.rows(self._stop, batch=codec.dump_batch(hints))
        if not stopped:
            return []
        active = [pause_of(row) for row in await tx.rows(self._active, most=_MOST)]
        notes = []
        for run_id, seq, workflow, tenant, direction, wish, cancel, now, whole in stopped:
            undoing = direction == Direction.BACKWARD or wish is not None or cancel is not None
            why = next(
                each for each in active
                if each.stops(
                    run_id=run_id, workflow=workflow, tenant=tenant, undoing=undoing,
                    whole_id=whole,
                )
            )  # fmt: skip
            notes.append((run_id, seq, PAUSED, why.by, paused_data(why, instant(now))))
        await self._notes.note_numbered(tx, notes)
        return [row[0] for row in stopped]

    async def release_paused(self, *, limit: int = 500) -> list[Redelivery]:
        """End pauses whose time is over; let paused runs go on that none stops any more."""
        return await self._db.write(lambda tx: self._release(tx, limit))

    async def _release(self, tx: Tx, limit: int) -> list[Redelivery]:
        await tx.change(self._end_overdue, by="engine", reason=_BY_TIME)
        found = await tx.rows(self._go_on, most=limit)
        notes = []
        for row in found:
            data = resumed_data(instant_optional(row[_WAKE]), instant(row[_NOW]))
            notes.append((row[0], row[_SEQ], RESUMED, "engine", data))
        await self._notes.note_numbered(tx, notes)
        return [rows.redelivery_of(row, "resumed") for row in found if row[_WAKE] is None]


_MOST = 2**31 - 1
_SEQ, _WAKE, _NOW = rows.REDELIVERY_WIDTH, rows.REDELIVERY_WIDTH + 1, rows.REDELIVERY_WIDTH + 2


def pause_of(row: Sequence[Any]) -> Pause:
    """From the columns of a pause."""
    return Pause(
        id=row[0], run_id=row[1], workflow=row[2], tenant=row[3], also_undoing=bool(row[4]),
        by=row[5], reason=row[6], since=instant(row[7]), until=instant_optional(row[8]),
        ended_at=instant_optional(row[9]), ended_by=row[10], ending_reason=row[11],
    )  # fmt: skip


def _paused_already(pause: Pause) -> Conflict:
    found = f"paused by {pause.by} since {pause.since.isoformat()}: {pause.reason}"
    problem = Problem(place=pause.scope, found=found, wanted="what is not paused")
    return Conflict("it is paused already", problems=[problem])


def _ended_already(pause: Pause) -> Conflict:
    assert pause.ended_at is not None
    found = f"ended by {pause.ended_by} at {pause.ended_at.isoformat()}: {pause.ending_reason}"
    problem = Problem(place=f"pause {pause.id}", found=found, wanted="a pause that holds")
    return Conflict("the pause has ended", problems=[problem])
