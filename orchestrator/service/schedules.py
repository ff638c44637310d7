"""Schedules, for people: set, look, pause, begin one now, make up for times that are past."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.core.schedules import (
    MOST_JITTER_SECONDS,
    FiringKind,
    FiringState,
    Overlap,
    Rhythm,
    Schedule,
    Times,
    due_at,
    told,
)
from orchestrator.definitions.calendars import problems_of, times_of
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.ports import WorkflowStore
from orchestrator.ports.schedules import (
    Firing,
    NewScheduleChange,
    ScheduleChange,
    ScheduleChangeKind,
    ScheduleRecord,
    ScheduleStore,
)
from orchestrator.service.asking import version_asked

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MOST_BACKFILLED = 10_000
MOST_FORESEEN = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleView:
    """A schedule, its next times, and what became of its last ones."""

    record: ScheduleRecord
    upcoming: Sequence[datetime]
    firings: Sequence[Firing]
    changes: Sequence[ScheduleChange]


class Schedules:
    """Use cases of schedules. Workers begin their runs, see `schedule_watch`."""

    def __init__(
        self,
        store: ScheduleStore,
        workflows: WorkflowStore,
        programs: Programs,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._workflows = store, workflows
        self._programs, self._new_id = programs, new_id

    async def list(self, tenant: str | None = None) -> Sequence[ScheduleRecord]:
        """All, by tenant and name."""
        return await self._store.schedules(tenant)

    async def show(
        self, tenant: str, name: str, *, upcoming: int = 5, last: int = 20
    ) -> ScheduleView:
        """One, with its next times and what became of the last ones. Raises NotFound."""
        record = await self._store.schedule(tenant, name)
        return ScheduleView(
            record=record, upcoming=upcoming_of(record, upcoming),
            firings=await self._store.firings(record.id, limit=last),
            changes=await self._store.schedule_changes(record.id),
        )  # fmt: skip

    async def foreseen(
        self, rhythm: Rhythm, *, count: int, after: datetime | None = None
    ) -> Sequence[datetime]:
        """The times of a rhythm after this one, or from now on. Raises InvalidInput."""
        after = await self._store.now() if after is None else after
        rhythm = _anchored(rhythm, None, after)
        return _some(times_of(rhythm), times_of(rhythm).after(after), count)

    async def set(
        self, tenant: str, name: str, schedule: Schedule, *, by: str, reason: str,
        expected_version: int | None = None,
    ) -> ScheduleRecord:  # fmt: skip
        """Make it, or have it be so from now on; one that is paused stays paused.

        `expected_version`: of what was looked at; 0: there is none. Where the rhythm stays as it
        was, no time is lost or repeated. Raises InvalidInput naming all that is wrong, NotFound
        for its workflow, Conflict.
        """
        before = await self._existing(tenant, name)
        _expect(before, name, expected_version)
        schedule, now = await self._checked(name, schedule, before, reason)
        times = times_of(schedule.rhythm)
        if before is None:
            schedule_id, next_at = self._new_id(), times.after(now)
        else:
            schedule_id = before.id
            same = before.schedule.rhythm == schedule.rhythm
            next_at = before.next_at if same else times.after(now)
        due = None if before is not None and before.paused else due_at(
            schedule, schedule_id, next_at
        )  # fmt: skip
        return await self._store.change_schedule(
            NewScheduleChange(
                id=schedule_id, tenant=tenant, name=name, expected=before,
                kind=ScheduleChangeKind.SET, by=by, reason=reason.strip(), schedule=schedule,
                next_at=next_at, due_at=due,
            )
        )  # fmt: skip

    async def pause(self, tenant: str, name: str, *, by: str, reason: str) -> ScheduleRecord:
        """Begin no run for it until it is resumed; runs that were begun go on.

        Raises NotFound, InvalidInput without a reason, Conflict when it is paused.
        """
        record = await self._store.schedule(tenant, name)
        if record.paused:
            raise _not_so(record, f"paused by {record.changed_by}", "one that is not paused")
        return await self._change(record, ScheduleChangeKind.PAUSE, by, reason, next_at=None)

    async def resume(self, tenant: str, name: str, *, by: str, reason: str) -> ScheduleRecord:
        """Go on with its next time from now on; those in between are not made up for.

        Raises NotFound, InvalidInput without a reason, Conflict when it is not paused.
        """
        record = await self._store.schedule(tenant, name)
        if not record.paused:
            raise _not_so(record, "not paused", "one that is paused")
        next_at = times_of(record.schedule.rhythm).after(await self._store.now())
        return await self._change(record, ScheduleChangeKind.RESUME, by, reason, next_at=next_at)

    async def delete(self, tenant: str, name: str, *, by: str, reason: str) -> ScheduleRecord:
        """Begin nothing for it any more; its runs, and what was done to it, stay.

        Raises NotFound, InvalidInput without a reason, Conflict.
        """
        record = await self._store.schedule(tenant, name)
        return await self._change(record, ScheduleChangeKind.DELETE, by, reason, next_at=None)

    async def trigger(self, tenant: str, name: str, *, by: str) -> datetime:
        """Begin one run now, whatever goes on; its time. Raises NotFound, Conflict."""
        record = await self._store.schedule(tenant, name)
        now = await self._store.now()
        begun = await self._store.add_firings(
            record, [now], FiringKind.MANUAL, by=by, state=FiringState.DUE
        )
        if not begun:
            raise _not_so(record, f"a run of {told(now)}", "another moment")
        return now

    async def backfill(
        self, tenant: str, name: str, *, since: datetime, until: datetime, by: str,
        dry_run: bool = False,
    ) -> Sequence[datetime]:  # fmt: skip
        """Begin runs for the times from `since` to `until` that have none; the times it has then.

        One after the other, unless its runs may overlap. With `dry_run` nothing is begun. Raises
        NotFound, and InvalidInput for times that have not come or more than 10,000.
        """
        record = await self._store.schedule(tenant, name)
        now = await self._store.now()
        times = _between(times_of(record.schedule.rhythm), since, until, now)
        if not dry_run:
            may_overlap = record.schedule.overlap is Overlap.ALLOW
            state = FiringState.DUE if may_overlap else FiringState.QUEUED
            await self._store.add_firings(record, times, FiringKind.BACKFILL, by=by, state=state)
        return times

    # ----------------------------------------------------------------------------------------------

    async def _existing(self, tenant: str, name: str) -> ScheduleRecord | None:
        found = await self._store.schedules(tenant)
        return next((each for each in found if each.name == name), None)

    async def _change(
        self, record: ScheduleRecord, kind: ScheduleChangeKind, by: str, reason: str,
        next_at: datetime | None,
    ) -> ScheduleRecord:  # fmt: skip
        _require_reason(reason)
        return await self._store.change_schedule(
            NewScheduleChange(
                id=record.id, tenant=record.tenant, name=record.name, expected=record, kind=kind,
                by=by, reason=reason.strip(), schedule=record.schedule, next_at=next_at,
                due_at=due_at(record.schedule, record.id, next_at),
            )
        )  # fmt: skip

    async def _checked(
        self, name: str, schedule: Schedule, before: ScheduleRecord | None, reason: str
    ) -> tuple[Schedule, datetime]:
        """As it is kept, and the database's time."""
        _require_reason(reason)
        now = await self._store.now()
        known = None if before is None else before.schedule.rhythm
        schedule = replace(schedule, rhythm=_anchored(schedule.rhythm, known, now))
        problems = [*_named_problems(name), *problems_of(schedule.rhythm)]
        problems += _limits_problems(schedule)
        if problems:
            raise InvalidInput("the schedule cannot be kept", problems=problems)
        await self._check_inputs(schedule, now)
        return schedule, now

    async def _check_inputs(self, schedule: Schedule, now: datetime) -> None:
        """Against its workflow, as it is now. Raises InvalidInput, NotFound."""
        version = await version_asked(self._workflows, schedule.workflow, schedule.version)
        program = await self._programs.get(version.id)
        inputs = program.check_inputs(schedule.inputs_at(now))
        program.attributes.of(inputs, schedule.attributes)


def upcoming_of(record: ScheduleRecord, count: int) -> list[datetime]:
    """Its next times; none while it is paused."""
    first = None if record.paused else record.next_at
    return _some(times_of(record.schedule.rhythm), first, count)


def _some(times: Times, at: datetime | None, count: int) -> list[datetime]:
    """So many, from `at` on."""
    found = list[datetime]()
    while at is not None and len(found) < min(count, MOST_FORESEEN):
        found.append(at)
        at = times.after(at)
    return found


def _anchored(rhythm: Rhythm, before: Rhythm | None, now: datetime) -> Rhythm:
    """With the first time of an interval: as before where it is the same interval, else now."""
    if rhythm.every_seconds is None or rhythm.starts_at is not None:
        return rhythm
    starts = now.replace(microsecond=0)
    if before is not None and before.every_seconds == rhythm.every_seconds:
        starts = before.starts_at or starts
    return replace(rhythm, starts_at=starts)


def _between(times: Times, since: datetime, until: datetime, now: datetime) -> list[datetime]:
    if until < since or until > now:
        wanted = f"from an earlier to a later time, until now ({told(now)}) at the latest"
        problem = Problem(
            place="since, until", found=f"{told(since)}, {told(until)}", wanted=wanted
        )
        raise InvalidInput("there is nothing to make up for", problems=[problem])
    found, first = list[datetime](), times.until(since)
    at = first if first == since else times.after(since)
    while at is not None and at <= until:
        if len(found) == MOST_BACKFILLED:
            problem = Problem(
                place="since, until", found=f"more than {MOST_BACKFILLED} times",
                wanted="a shorter time",
            )  # fmt: skip
            raise InvalidInput("too many times at once", problems=[problem])
        found.append(at)
        at = times.after(at)
    return found


def _named_problems(name: str) -> list[Problem]:
    if NAME.fullmatch(name):
        return []
    wanted = "letters, digits, dots, dashes and underscores, 100 at most"
    return [Problem(place="name", found=repr(name[:50]), wanted=wanted)]


def _limits_problems(schedule: Schedule) -> list[Problem]:
    found = []
    limits = (("jitter", schedule.jitter_seconds, MOST_JITTER_SECONDS),
              ("catch_up_seconds", schedule.catch_up_seconds, 366 * 86_400.0))  # fmt: skip
    for place, value, most in limits:
        if not 0 <= value <= most:
            wanted = f"0 to {most:g} seconds"
            found.append(Problem(place=place, found=f"{value:g}", wanted=wanted))
    return found


def _require_reason(reason: str) -> None:
    if not reason.strip():
        problem = Problem(place="reason", found="nothing", wanted="why, for the record")
        raise InvalidInput("a schedule is changed for a reason", problems=[problem])


def _expect(before: ScheduleRecord | None, name: str, version: int | None) -> None:
    found = 0 if before is None else before.version
    if version is not None and version != found:
        problem = Problem(
            place=f"schedule {name}", found=f"version {found}", wanted=f"version {version}"
        )
        raise Conflict("the schedule was changed meanwhile", problems=[problem])


def _not_so(record: ScheduleRecord, found: str, wanted: str) -> Conflict:
    problem = Problem(place=f"schedule {record.name}", found=found, wanted=wanted)
    return Conflict("this cannot be done to the schedule as it stands", problems=[problem])
