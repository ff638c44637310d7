"""Pauses, and the runs that they stop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from orchestrator.core.states import SETTLED, Direction, RunStatus
from orchestrator.ports import (
    PAUSED,
    RESUMED,
    JobItem,
    JobItemState,
    NewPause,
    Pause,
    Redelivery,
)
from orchestrator.store.codec import storable
from orchestrator.store.notes import paused_data, resumed_data
from orchestrator.testing.memory import jobs
from orchestrator.testing.memory.accepting import active_pauses, note, stopping
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.records import conflict, not_found, redelivery_of
from orchestrator.testing.memory.tables import HINTED, MemoryDatabase, RunRow


class MemoryPauses(Passing):
    """Implements ports.PauseStore."""

    async def pause(self, new: NewPause, *, item: JobItem | None = None) -> Pause:
        """See PauseStore."""
        return await self._pass("pause", lambda: _pause(self.database, new, item))

    async def pauses(self, *, active_only: bool = True, limit: int = 10_000) -> list[Pause]:
        """See PauseStore."""
        return await self._pass(
            "pauses", lambda: _pauses(self.database, active_only=active_only, limit=limit)
        )

    async def end_pause(
        self, pause_id: str, *, by: str, reason: str, item: JobItem | None = None
    ) -> Pause:
        """See PauseStore."""
        return await self._pass(
            "end_pause", lambda: _end_pause(self.database, pause_id, by, reason, item)
        )

    async def hold_paused(self, hints: Sequence[tuple[str, int]]) -> list[str]:
        """See PauseStore."""
        return await self._pass("hold_paused", lambda: _hold_paused(self.database, hints))

    async def release_paused(self, *, limit: int = 500) -> list[Redelivery]:
        """See PauseStore."""
        return await self._pass(
            "release_paused", lambda: _release_paused(self.database, limit=limit)
        )


def _pause(database: MemoryDatabase, new: NewPause, item: JobItem | None) -> Pause:
    """Make it; a single run that nobody has stops at once."""
    now = database.clock()
    row = None if new.run_id is None else _going_run(database, new.run_id)
    made = Pause(
        id=new.id, run_id=new.run_id, workflow=new.workflow if row is None else row.workflow,
        tenant=new.tenant if row is None else row.tenant, also_undoing=new.also_undoing,
        by=storable(new.by), reason=storable(new.reason), since=now,
        until=None if new.seconds is None else now + timedelta(seconds=new.seconds),
        ended_at=None, ended_by=None, ending_reason=None,
    )  # fmt: skip
    for each in database.pauses:
        if each.ended_at is None and not _overdue(each, now) and _about(each) == _about(made):
            raise conflict(
                "it is paused already", place=each.scope, wanted="what is not paused",
                found=f"paused by {each.by} since {each.since.isoformat()}: {each.reason}",
            )  # fmt: skip
    if item is not None:
        jobs.mark(database, item, JobItemState.DONE)
    _end_overdue(database, now)  # only now: what is refused changes nothing
    database.pauses.append(made)
    if row is not None and row.owner is not None:
        data = {"pause": made.id, "reason": made.reason}
        note(row, "run.pause_requested", by=made.by, data=data, now=now)
    elif row is not None:
        _stop_if_stopped(database, row, now)
    return made


def _about(one: Pause) -> tuple[str | None, ...]:
    return (one.run_id,) if one.run_id is not None else (None, one.workflow, one.tenant)


def _going_run(database: MemoryDatabase, run_id: str) -> RunRow:
    row = database.runs.get(run_id)
    if row is None:
        raise not_found("run", run_id, "the whole id of a run")
    if row.status in SETTLED:
        raise conflict(
            "the run cannot be paused any more", place=f"run {run_id}",
            found=f"status {row.status}", wanted="a run that is still going",
        )  # fmt: skip
    return row


def _pauses(database: MemoryDatabase, *, active_only: bool, limit: int) -> list[Pause]:
    """Newest first."""
    found = active_pauses(database) if active_only else database.pauses[::-1]
    return found[:limit]


def _end_pause(
    database: MemoryDatabase, pause_id: str, by: str, reason: str, item: JobItem | None
) -> Pause:
    """Raises Conflict when it has ended, NotFound."""
    for place, each in enumerate(database.pauses):
        if each.id != pause_id:
            continue
        if each.ended_at is not None:
            found = f"ended by {each.ended_by} at {each.ended_at.isoformat()}: {each.ending_reason}"
            raise conflict(
                "the pause has ended", place=f"pause {pause_id}", found=found,
                wanted="a pause that holds",
            )  # fmt: skip
        if item is not None:
            jobs.mark(database, item, JobItemState.DONE)
        ended = replace(
            each, ended_at=database.clock(), ended_by=storable(by), ending_reason=storable(reason)
        )
        database.pauses[place] = ended
        return ended
    raise not_found("pause", pause_id, "the id of a pause")


def _hold_paused(database: MemoryDatabase, hints: Sequence[tuple[str, int]]) -> list[str]:
    """Those that a pause stops, by id."""
    now = database.clock()
    known = [(database.runs.get(run_id), epoch) for run_id, epoch in sorted(set(hints))]
    return [
        row.id for row, epoch in known
        if row is not None and row.epoch == epoch and _stop_if_stopped(database, row, now)
    ]  # fmt: skip


def _stop_if_stopped(database: MemoryDatabase, row: RunRow, now: datetime) -> bool:
    why = stopping(database, row)
    if why is None or row.owner is not None or row.status not in HINTED:
        return False
    row.status, row.published_at = RunStatus.PAUSED, None
    note(row, PAUSED, by=why.by, data=paused_data(why, now), now=now)
    database.shelve(row)
    return True


def _release_paused(database: MemoryDatabase, *, limit: int) -> list[Redelivery]:
    """Those that no pause stops any more."""
    now = database.clock()
    _end_overdue(database, now)
    if not database.statuses[RunStatus.PAUSED]:
        return []
    paused = (database.runs[run_id] for run_id in database.run_ids())
    free = [
        row for row in paused
        if row.status is RunStatus.PAUSED and row.owner is None and stopping(database, row) is None
    ][:limit]  # fmt: skip
    for row in free:
        _go_on(database, row, now)
    return [redelivery_of(row, "resumed", now) for row in free if row.wake_at is None]


def _go_on(database: MemoryDatabase, row: RunRow, now: datetime) -> None:
    note(row, RESUMED, by="engine", data=resumed_data(row.wake_at, now), now=now)
    if row.wake_at is not None and row.wake_at > now:
        row.status, row.published_at = RunStatus.WAITING, None
    else:
        forward = row.direction is Direction.FORWARD
        row.status = RunStatus.RUNNING if forward else RunStatus.COMPENSATING
        row.published_at, row.wake_at = now, None
    database.shelve(row)


def _end_overdue(database: MemoryDatabase, now: datetime) -> None:
    for place, each in enumerate(database.pauses):
        if each.ended_at is None and _overdue(each, now):
            database.pauses[place] = replace(
                each, ended_at=now, ended_by="engine", ending_reason="its time was over"
            )


def _overdue(pause: Pause, now: datetime) -> bool:
    return pause.until is not None and pause.until <= now
