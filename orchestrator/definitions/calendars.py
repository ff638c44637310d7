"""The times of rhythms: cron by the calendar of a time zone, and every so many seconds.

As Debian's cron does: where clocks go forward, a job of fixed hours that would fall into the gap
comes right after it; where they go back, it comes once, the first time. Jobs of every hour (`*`,
`*/6`) go by what passes, so they come in both of the hours that are told alike. Cron is read by
croniter, which has all but "once".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, CroniterError, croniter

from orchestrator.core.schedules import Rhythm, Times
from orchestrator.errors import InvalidInput, Problem

LEAST_SECONDS, MOST_SECONDS = 1, 366 * 86_400
_FIELDS = (5, 6)
_HOURS = 1  # the place of their field, without seconds


def times_of(rhythm: Rhythm) -> Times:
    """Its times. Raises InvalidInput naming all that is wrong with it."""
    problems = problems_of(rhythm)
    if problems:
        raise InvalidInput("the schedule has no times", problems=problems)
    return _times(rhythm)


def problems_of(rhythm: Rhythm, place: str = "") -> list[Problem]:
    """What is wrong with it; places begin with `place`."""
    found: list[Problem] = []
    if (rhythm.cron is None) == (rhythm.every_seconds is None):
        both = "both" if rhythm.cron is not None else "neither"
        found.append(Problem(place=f"{place}cron, every", found=both, wanted="one of them"))
    elif rhythm.cron is not None:
        found += _cron_problems(rhythm.cron, rhythm.zone, place)
    else:
        found += _every_problems(rhythm, place)
    ends, starts = rhythm.ends_at, rhythm.starts_at
    if ends is not None and starts is not None and ends < starts:
        found.append(
            Problem(
                place=f"{place}ends_at", found=ends.isoformat(),
                wanted=f"not before starts_at, {starts.isoformat()}",
            )
        )  # fmt: skip
    return found


def in_words(rhythm: Rhythm) -> str:
    """For people: `0 3 * * * in Europe/Berlin`, `every 0:15:00`."""
    if rhythm.cron is not None:
        return f"{rhythm.cron} in {rhythm.zone}"
    return f"every {timedelta(seconds=rhythm.every_seconds or 0)}"


def _cron_problems(cron: str, zone: str, place: str) -> list[Problem]:
    found = [] if _is_zone(zone) else [_no_zone(zone, place)]
    wanted = "minute, hour, day, month and weekday, with seconds before them if any: '0 3 * * MON'"
    if len(cron.split()) not in _FIELDS or not cron.isascii():
        return [*found, Problem(place=f"{place}cron", found=repr(cron), wanted=wanted)]
    try:
        _croniter(cron, _ANY_DAY).get_next()
    except CroniterBadDateError:
        wanted = "a time that ever comes"
        found.append(Problem(place=f"{place}cron", found=repr(cron), wanted=wanted))
    except CroniterError as error:
        found.append(Problem(place=f"{place}cron", found=repr(cron), wanted=f"{wanted} ({error})"))
    return found


def _croniter(cron: str, start: datetime) -> croniter:
    return croniter(cron, start, second_at_beginning=True)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # none of this name; no name; a folder
        return False
    return True


def _no_zone(zone: str, place: str) -> Problem:
    return Problem(
        place=f"{place}zone", found=repr(zone), wanted="the name of a time zone: Europe/Berlin, UTC"
    )


def _every_problems(rhythm: Rhythm, place: str) -> list[Problem]:
    every, found = rhythm.every_seconds or 0, list[Problem]()
    if not LEAST_SECONDS <= every <= MOST_SECONDS:
        wanted = f"{LEAST_SECONDS} to {MOST_SECONDS} seconds"
        found.append(Problem(place=f"{place}every", found=f"{every} seconds", wanted=wanted))
    if rhythm.starts_at is None:
        found.append(Problem(place=f"{place}starts_at", found="nothing", wanted="its first time"))
    return found


_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1000)
def _times(rhythm: Rhythm) -> Times:
    within = _Within(rhythm)
    if rhythm.cron is not None:
        return _Cron(rhythm.cron, ZoneInfo(rhythm.zone), within)
    assert rhythm.every_seconds is not None
    assert rhythm.starts_at is not None
    return _Every(timedelta(seconds=rhythm.every_seconds), rhythm.starts_at, within)


class _Within:
    """The bounds of a rhythm, both of which may have a time."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.starts_at, self.ends_at = rhythm.starts_at, rhythm.ends_at

    def first(self, at: datetime) -> datetime:
        """The last moment that is before all times to look for, after this one."""
        if self.starts_at is None:
            return at
        return max(at, self.starts_at - timedelta(microseconds=1))

    def last(self, at: datetime) -> datetime:
        """The last moment that may be one, until this one."""
        return at if self.ends_at is None else min(at, self.ends_at)

    def kept(self, at: datetime | None) -> datetime | None:
        """The time, if it is within."""
        if at is None or (self.starts_at is not None and at < self.starts_at):
            return None
        return None if self.ends_at is not None and at > self.ends_at else at


class _Cron:
    def __init__(self, cron: str, zone: ZoneInfo, within: _Within) -> None:
        self._cron, self._zone, self._within = cron, zone, within
        self._is_once = not cron.split()[-5:][_HOURS].startswith("*")

    def after(self, at: datetime) -> datetime | None:
        found = self._from(self._within.first(at))
        return self._within.kept(self._usable(lambda: found.get_next(datetime)))

    def until(self, at: datetime) -> datetime | None:
        # It looks for what is earlier, and the times are whole seconds.
        end = self._within.last(at).replace(microsecond=0) + timedelta(seconds=1)
        found = self._from(end)
        return self._within.kept(self._usable(lambda: found.get_prev(datetime)))

    def _from(self, at: datetime) -> croniter:
        return _croniter(self._cron, at.astimezone(self._zone))

    def _usable(self, step: Callable[[], datetime]) -> datetime | None:
        """The nearest one, but for the second of two that a clock tells alike."""
        try:
            found = step()
            while self._is_once and _is_second(found):
                found = step()
        except CroniterBadDateError:  # there is none within the next or last decades
            return None
        return found.astimezone(UTC)


def _is_second(at: datetime) -> bool:
    """Whether a clock has told this time before: a `fold` of others says nothing."""
    return at.fold == 1 and at.replace(fold=0).utcoffset() != at.utcoffset()


class _Every:
    def __init__(self, every: timedelta, first: datetime, within: _Within) -> None:
        self._every, self._first, self._within = every, first, within

    def after(self, at: datetime) -> datetime | None:
        if at < self._first:
            return self._within.kept(self._first)
        return self._within.kept(
            self._first + ((at - self._first) // self._every + 1) * self._every
        )

    def until(self, at: datetime) -> datetime | None:
        end = self._within.last(at)
        if end < self._first:
            return None
        return self._first + ((end - self._first) // self._every) * self._every
