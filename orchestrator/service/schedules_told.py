"""Schedules as they are told to programs: the same in JSON and over the network."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.core.schedules import Schedule, told
from orchestrator.definitions.calendars import in_words
from orchestrator.ports.schedules import Firing, ScheduleChange, ScheduleRecord
from orchestrator.service.schedules import ScheduleView, upcoming_of


def schedule_told(schedule: Schedule) -> dict[str, Any]:
    """What is wanted, as it was said."""
    rhythm = schedule.rhythm
    return {
        "workflow": schedule.workflow,
        "version": schedule.version,
        "cron": rhythm.cron,
        "zone": rhythm.zone,
        "every_seconds": rhythm.every_seconds,
        "starts_at": _time(rhythm.starts_at),
        "ends_at": _time(rhythm.ends_at),
        "inputs": dict(schedule.inputs),
        "time_input": schedule.time_input,
        "attributes": dict(schedule.attributes),
        "priority": schedule.priority,
        "deadline_seconds": schedule.deadline_seconds,
        "overlap": schedule.overlap.value,
        "catch_up": schedule.catch_up.value,
        "catch_up_seconds": schedule.catch_up_seconds,
        "jitter_seconds": schedule.jitter_seconds,
    }


def record_told(record: ScheduleRecord) -> dict[str, Any]:
    """A schedule as it is now."""
    next_at = upcoming_of(record, 1)
    return {
        "tenant": record.tenant,
        "name": record.name,
        "version": record.version,
        "times": in_words(record.schedule.rhythm),
        "paused": record.paused,
        "next_at": _time(next_at[0]) if next_at else None,
        "changed_at": _time(record.changed_at),
        "changed_by": record.changed_by,
        "reason": record.reason,
        "schedule": schedule_told(record.schedule),
    }


def view_told(view: ScheduleView) -> dict[str, Any]:
    """With its next times, what became of its last ones, and its history."""
    return {
        **record_told(view.record),
        "upcoming": [told(at) for at in view.upcoming],
        "firings": [firing_told(each) for each in view.firings],
        "changes": [_change_told(each) for each in view.changes],
    }


def firing_told(firing: Firing) -> dict[str, Any]:
    """What became of a time, or of all from `since` on."""
    return {
        "at": told(firing.at),
        "since": _time(firing.since),
        "kind": firing.kind.value,
        "state": firing.state.value,
        "run_id": firing.run_id,
        "reason": firing.reason,
        "decided_at": _time(firing.decided_at),
    }


def _change_told(change: ScheduleChange) -> Mapping[str, Any]:
    return {
        "version": change.version,
        "kind": change.kind.value,
        "at": told(change.at),
        "by": change.by,
        "reason": change.reason,
        "schedule": schedule_told(change.schedule),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else told(at)
