"""When the runs of a schedule begin, and what a time becomes that comes while a run goes on.

`take_turn` is asked now and then, by whichever worker looks; what it answers is written by one of
them, once (see `ports.ScheduleStore.record_turn`). It decides on times, never on runs that somebody
else began: a time has one row, so it begins one run at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

LATE_SECONDS = 60.0
"""A time that is taken up later than this was missed, and `catch_up` says what becomes of it."""
MOST_TIMES_A_TURN = 100
MOST_QUEUED = 100
"""Times that wait for an earlier run; more are skipped."""
MOST_JITTER_SECONDS = 86_400.0
_TICK = timedelta(microseconds=1)


class Overlap(StrEnum):
    """What a time becomes that comes while a run of an earlier one goes on."""

    ALLOW = "allow"  # both run
    SKIP = "skip"  # it is left out
    QUEUE = "queue"  # it waits, in order
    CANCEL = "cancel"  # it waits until the old run was cancelled and undone; the newest alone


class CatchUp(StrEnum):
    """What becomes of times at which nobody looked."""

    NONE = "none"  # they are left out
    LAST = "last"  # the latest of them alone, unless the next one has come as well
    ALL = "all"  # all of the last `catch_up_seconds`


class FiringKind(StrEnum):
    """Why there is a firing."""

    TIME = "time"  # its time came
    BACKFILL = "backfill"  # somebody asked for a time that is past
    MANUAL = "manual"  # somebody asked for one now


class FiringState(StrEnum):
    """How far a firing has come."""

    QUEUED = "queued"  # waits until an earlier run has ended
    DUE = "due"  # is to begin; whoever looks begins it, with one key
    STARTED = "started"  # has a run
    SKIPPED = "skipped"  # has none, and says why
    FAILED = "failed"  # its run was refused, and says why


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """Either by the calendar of a time zone, or every so many seconds."""

    cron: str | None = None  # five fields, or six with seconds
    zone: str = "UTC"  # an IANA name
    every_seconds: int | None = None
    starts_at: datetime | None = None  # of `every`: its first time; else: none before
    ends_at: datetime | None = None  # none after


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What is wanted, and when."""

    workflow: str
    rhythm: Rhythm
    version: int | None = None  # None: the latest whenever a run begins
    inputs: Mapping[str, Any] = field(default_factory=dict)
    time_input: str | None = None  # the input that is given the time, as text (RFC 3339)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    deadline_seconds: float | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    catch_up_seconds: float = 86_400.0
    jitter_seconds: float = 0.0

    def inputs_at(self, at: datetime) -> Mapping[str, Any]:
        """The inputs of the run of this time."""
        if self.time_input is None:
            return self.inputs
        return {**self.inputs, self.time_input: told(at)}


class Times(Protocol):
    """The times of a rhythm."""

    def after(self, at: datetime) -> datetime | None:
        """The first one later than this, in UTC; None: there is none any more."""

    def until(self, at: datetime) -> datetime | None:
        """The last one that is not later than this; None: there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Open:
    """A firing whose run has not ended, or has not begun."""

    at: datetime
    kind: FiringKind
    state: FiringState  # QUEUED, DUE or STARTED
    run_id: str | None = None
    is_ending: bool = False  # its run was asked to end

    @property
    def is_busy(self) -> bool:
        """Whether it has a run, or is about to have one."""
        return self.state is not FiringState.QUEUED


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a time becomes. `since` < `at`: the same for all times from then on."""

    at: datetime
    state: FiringState
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What is decided in one look at a schedule."""

    new: Sequence[Decision]  # of times that have come
    moved: Sequence[Decision]  # of firings that were queued
    next_at: datetime | None  # the first time that was not looked at; None: it is over
    due_at: datetime | None  # when to look again for it

    @property
    def is_nothing(self) -> bool:
        """Whether all stays as it is."""
        return not (self.new or self.moved)


def told(at: datetime) -> str:
    """A time as text, in UTC: the same for the same time, always."""
    return at.isoformat().replace("+00:00", "Z")


def key_of(schedule_id: str, at: datetime) -> str:
    """The idempotency key of the run of this time."""
    return f"schedule/{schedule_id}/{told(at)}"


def due_at(schedule: Schedule, schedule_id: str, at: datetime | None) -> datetime | None:
    """When the run of this time shall begin: a little later, by a share that is always the same."""
    if at is None or not schedule.jitter_seconds:
        return at
    digest = hashlib.sha256(key_of(schedule_id, at).encode()).digest()
    share = int.from_bytes(digest[:6], "big") / 2**48
    return at + timedelta(seconds=round(share * schedule.jitter_seconds, 3))


def take_turn(
    schedule: Schedule,
    times: Times,
    *,
    schedule_id: str,
    next_at: datetime | None,
    opens: Sequence[Open],
    now: datetime,
) -> Turn:
    """What of this schedule begins now, waits, or is left out."""
    line = _Line(schedule.overlap, opens)
    moved = line.begin_waiting()
    found, next_at = _come(schedule, times, schedule_id, next_at, now)
    new = [each if each.state is FiringState.SKIPPED else line.decided(each) for each in found]
    return Turn(
        new=new, moved=[*moved, *line.replaced(decided=new)], next_at=next_at,
        due_at=due_at(schedule, schedule_id, next_at),
    )  # fmt: skip


def to_end(schedule: Schedule, opens: Iterable[Open]) -> list[Open]:
    """Those whose place a later time waits for, and whose runs have not been asked to end yet."""
    opens = list(opens)
    waits = any(each.state is FiringState.QUEUED and each.kind is FiringKind.TIME for each in opens)
    if schedule.overlap is not Overlap.CANCEL or not waits:
        return []
    return [each for each in opens if each.run_id is not None and not each.is_ending]


class _Line:
    """Firings that go on, and those that wait, oldest first."""

    def __init__(self, overlap: Overlap, opens: Sequence[Open]) -> None:
        self._overlap = overlap
        self._busy = any(each.is_busy for each in opens)
        waiting = [each for each in opens if each.state is FiringState.QUEUED]
        self._waiting = sorted(waiting, key=lambda each: each.at)

    def begin_waiting(self) -> list[Decision]:
        """Of those that waited: all where they may overlap, else the first, if nothing goes on."""
        if self._overlap is Overlap.ALLOW:
            begun, self._waiting = self._waiting, []
        elif self._busy or not self._waiting:
            return []
        else:
            begun, self._waiting = self._waiting[:1], self._waiting[1:]
        self._busy = True if begun else self._busy
        return [Decision(at=each.at, state=FiringState.DUE) for each in begun]

    def decided(self, come: Decision) -> Decision:
        """What this time becomes, after all before it."""
        if self._overlap is Overlap.ALLOW or not (self._busy or self._waiting):
            self._busy = True
            return Decision(at=come.at, state=FiringState.DUE)
        if self._overlap is Overlap.SKIP:
            return Decision(
                at=come.at, state=FiringState.SKIPPED, reason="the run of an earlier time goes on"
            )
        if self._overlap is Overlap.QUEUE and len(self._waiting) >= MOST_QUEUED:
            reason = f"{MOST_QUEUED} times wait for the run of an earlier one"
            return Decision(at=come.at, state=FiringState.SKIPPED, reason=reason)
        self._waiting.append(Open(at=come.at, kind=FiringKind.TIME, state=FiringState.QUEUED))
        return Decision(at=come.at, state=FiringState.QUEUED)

    def replaced(self, *, decided: list[Decision]) -> list[Decision]:
        """Where a later time takes the place of an earlier one: those that waited and do not now.

        What was decided on just now is changed in place.
        """
        own = [each for each in self._waiting if each.kind is FiringKind.TIME]
        if self._overlap is not Overlap.CANCEL or len(own) < 2:
            return []
        left = [
            Decision(at=each.at, state=FiringState.SKIPPED, reason="a later time took its place")
            for each in own[:-1]
        ]
        places = {each.at: place for place, each in enumerate(decided)}
        for each in left:
            if each.at in places:
                decided[places[each.at]] = each
        return [each for each in left if each.at not in places]


def _come(
    schedule: Schedule,
    times: Times,
    schedule_id: str,
    next_at: datetime | None,
    now: datetime,
) -> tuple[list[Decision], datetime | None]:
    """The times that have come, those that were missed as one, and the first that has not."""
    if next_at is None:
        return [], None
    missed, next_at = _missed(schedule, times, next_at, now)
    come = [] if missed is None else [missed]
    while next_at is not None and len(come) < MOST_TIMES_A_TURN:
        begins = due_at(schedule, schedule_id, next_at)
        if begins is None or begins > now:
            break
        come.append(Decision(at=next_at, state=FiringState.DUE))
        next_at = times.after(next_at)
    return come, next_at


def _missed(
    schedule: Schedule, times: Times, next_at: datetime, now: datetime
) -> tuple[Decision | None, datetime | None]:
    """Times that are left out since nobody looked, and the first that is not."""
    jitter = timedelta(seconds=schedule.jitter_seconds)
    late = timedelta(seconds=LATE_SECONDS)
    if schedule.catch_up is CatchUp.ALL:
        late = max(late, timedelta(seconds=schedule.catch_up_seconds))
    last = times.until(now - late - jitter)
    if last is None or last < next_at:
        return None, next_at
    after = times.after(last)
    if schedule.catch_up is CatchUp.LAST and (after is None or after > now):
        after, before = last, times.until(last - _TICK)
        if before is None or before < next_at:
            return None, after
        last = before
    missed = Decision(
        at=last, state=FiringState.SKIPPED, since=next_at if next_at < last else None,
        reason="missed: nobody looked at that time",
    )  # fmt: skip
    return missed, after
