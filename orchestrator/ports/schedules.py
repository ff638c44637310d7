"""Schedules: what they were and are, and what became of each of their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from orchestrator.core.schedules import FiringKind, FiringState, Open, Schedule, Turn


class ScheduleChangeKind(StrEnum):
    """What was done to a schedule."""

    SET = "set"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"


class ScheduleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is now."""

    id: str  # another one for each schedule that ever had this name
    tenant: str
    name: str
    version: int  # grows with every change
    schedule: Schedule
    paused: bool
    deleted: bool
    next_at: datetime | None  # its next time; None: it is over, paused or deleted
    due_at: datetime | None  # when that begins
    turn: int  # grows whenever times were taken up
    changed_at: datetime
    changed_by: str
    reason: str  # of the last change


class ScheduleChange(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did to it."""

    version: int
    kind: ScheduleChangeKind
    at: datetime
    by: str
    reason: str
    schedule: Schedule


class NewScheduleChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change to be made. The first of a schedule has `expected` None."""

    id: str
    tenant: str
    name: str
    expected: ScheduleRecord | None
    kind: ScheduleChangeKind
    by: str
    reason: str
    schedule: Schedule
    next_at: datetime | None
    due_at: datetime | None


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a time."""

    schedule_id: str
    at: datetime
    since: datetime | None  # the same became of all times from then on
    kind: FiringKind
    state: FiringState
    run_id: str | None
    reason: str  # why there is no run
    decided_at: datetime


class ToBegin(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to begin, by the schedule as it was when that was decided."""

    schedule_id: str
    tenant: str
    name: str
    at: datetime
    schedule: Schedule


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that something is to be decided on."""

    record: ScheduleRecord
    opens: Sequence[Open]  # firings that go on, unless its runs may overlap
    ended: Sequence[datetime]  # firings whose runs have ended since one last looked
    now: datetime  # the database's


class ScheduleStore(Protocol):
    """Schedules. A time has one row, whoever writes it, so it begins one run."""

    async def now(self) -> datetime:
        """The database's time."""

    async def schedules(self, tenant: str | None = None) -> list[ScheduleRecord]:
        """All that were not deleted, by tenant and name."""

    async def schedule(self, tenant: str, name: str) -> ScheduleRecord:
        """One that was not deleted. Raises NotFound."""

    async def change_schedule(self, change: NewScheduleChange) -> ScheduleRecord:
        """Make a change and record it.

        Raises Conflict where it is not as expected any more, or there is one of this name.
        """

    async def schedule_changes(self, schedule_id: str, *, limit: int = 50) -> list[ScheduleChange]:
        """Newest first."""

    async def firings(self, schedule_id: str, *, limit: int = 50) -> list[Firing]:
        """The latest times first."""

    async def schedules_to_look_at(self, *, limit: int) -> list[Looked]:
        """Those with a time that has come, or with one that waits for a run."""

    async def record_turn(self, looked: Looked, turn: Turn) -> bool:
        """Write what was decided. False: it was changed, or another was first; nothing is written.

        A time that has a row keeps it.
        """

    async def add_firings(
        self, record: ScheduleRecord, times: Sequence[datetime], kind: FiringKind, *, by: str,
        state: FiringState,
    ) -> int:  # fmt: skip
        """Have these begin or wait, but for those that have a run, or will; how many."""

    async def to_begin(
        self, *, older_than_seconds: float, schedule_id: str | None = None, limit: int
    ) -> list[ToBegin]:
        """Firings that are due since so long, the oldest first."""

    async def note_begun(
        self, schedule_id: str, at: datetime, *, run_id: str | None, reason: str = ""
    ) -> None:
        """It has this run; None: it was refused, for this reason. The first answer stays."""

    async def note_ending(self, schedule_id: str, at: datetime) -> None:
        """The run of this time was asked to end."""
