"""Objectives of workflows, as they are counted in the tables, and their alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from orchestrator.core.slo import Count, Objective, ObjectiveKind, Urgency


class AlarmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An objective whose budget burns, or burned, too fast."""

    id: str
    workflow: str
    kind: ObjectiveKind
    urgency: Urgency
    target: float  # these are of when it opened
    long_seconds: int
    bad: int
    total: int  # events in the long window
    burn_rate: float
    opened_at: datetime
    burning_at: datetime  # when that was last seen to be so
    closed_at: datetime | None = None


class NewAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """One that opens."""

    id: str
    objective: Objective
    urgency: Urgency
    long_seconds: int
    count: Count
    burn_rate: float


class SloStore(Protocol):
    """Counts by minute and hour, kept beside what they are counted from, and longer than that."""

    async def count_events(
        self, objectives: Sequence[Objective], *, at_least_seconds: float
    ) -> int:
        """Bring the counts of those that were not counted for so long up to now, each by a day at
        most; how many of them are not there yet. -1: somebody else is at it, or just was.

        What happened in the last minutes is counted again, since it may have been committed late.
        """

    async def event_counts(
        self, objectives: Sequence[Objective]
    ) -> tuple[datetime, list[Mapping[int, Count]]]:
        """The database's time, and of each objective the counts of its windows, by their length."""

    async def alarms(
        self, *, closed_within_seconds: float, limit: int | None = None
    ) -> list[AlarmRecord]:
        """The open ones, and those that were closed lately; newest first."""

    async def open_alarms(self, new: Sequence[NewAlarm]) -> int:
        """How many opened: an objective has one open alarm of each urgency."""

    async def touch_alarms(self, ids: Sequence[str]) -> None:
        """Their rules still hold."""

    async def close_alarms(self, ids: Sequence[str], *, quiet_seconds: float) -> int:
        """End those whose rules were last seen to hold at least so long ago; how many."""

    async def told_objectives(self) -> Mapping[str, Mapping[str, Any]]:
        """Of each workflow that was ever published what its newest version says of itself."""
