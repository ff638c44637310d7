"""Times of schedules over ten years in three time zones, held against another library's.

Each rhythm in one of the zones in turn, unless there is time for all (`make long`).
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.schedules import Rhythm
from orchestrator.definitions.calendars import times_of
from tests.sweeps import in_turn

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")  # one goes by half an hour
CRONS = ("30 2 * * *", "0 3 * * *", "30 1 * * *", "45 1 * * 0", "0 9 * * MON-FRI", "0 12 1,15 * 5")


@lru_cache(maxsize=50)
def expected(zone: str, cron: str) -> tuple[datetime, ...]:
    """The other library's."""
    found = (at.astimezone(UTC) for at in CronSim(cron, START.astimezone(ZoneInfo(zone))))
    return tuple(takewhile(lambda at: at < END, found))


@pytest.mark.parametrize(("cron", "zone"), in_turn(CRONS, ZONES))
def test_none_is_missing_and_none_comes_twice_in_ten_years(zone: str, cron: str) -> None:
    times = times_of(Rhythm(cron=cron, zone=zone))
    found: list[datetime] = []
    at = times.after(START)
    while at is not None and at < END:
        found.append(at)
        at = times.after(at)
    assert tuple(found) == expected(zone, cron)


@pytest.mark.parametrize("zone", ZONES)
def test_every_half_hour_goes_by_what_passes(zone: str) -> None:
    times = times_of(Rhythm(cron="*/30 * * * *", zone=zone))
    changes = [datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)]
    for start in changes:
        found = [start]
        while found[-1] < start + timedelta(days=40):
            at = times.after(found[-1])
            assert at is not None
            found.append(at)
        assert {b - a for a, b in pairwise(found)} == {timedelta(minutes=30)}


def test_a_part_of_an_hour_goes_back_between_two_times() -> None:
    """Which the other library gets wrong: it leaves one out."""
    times = times_of(Rhythm(cron="15 */6 * * *", zone="Australia/Lord_Howe"))
    found = [datetime(2026, 4, 4, 13, 15, tzinfo=UTC)]  # 00:15, two hours before
    for _ in range(2):
        at = times.after(found[-1])
        assert at is not None
        found.append(at)
    assert [each.astimezone(ZoneInfo(ZONES[2])).hour for each in found] == [0, 6, 12]
    assert found[1] - found[0] == timedelta(hours=6, minutes=30)


@given(
    zone=st.sampled_from(ZONES),
    cron=st.sampled_from(CRONS),
    since=st.timedeltas(timedelta(days=365), timedelta(days=9 * 365)),
    near=st.booleans(),
)
def test_until_and_after_agree(zone: str, cron: str, since: timedelta, near: bool) -> None:
    every, moment = expected(zone, cron), START + since
    place = bisect_right(every, moment)
    if near:  # at a time itself, where mistakes by one are made
        moment = every[place - 1]
    times = times_of(Rhythm(cron=cron, zone=zone))
    assert times.until(moment) == every[place - 1]
    assert times.after(moment) == every[place]


@given(
    every=st.integers(1, 10_000_000),
    offset=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
)
def test_intervals_are_counted_from_their_first_time(every: int, offset: timedelta) -> None:
    times = times_of(Rhythm(every_seconds=every, starts_at=START))
    moment = START + offset
    before, after = times.until(moment), times.after(moment)
    assert after is not None
    assert after > moment
    assert (after - START) % timedelta(seconds=every) == timedelta(0)
    if before is None:
        assert moment < START
        assert after == START
    else:
        assert before <= moment
        assert after - before == timedelta(seconds=every)


def test_nothing_comes_before_the_start_or_after_the_end() -> None:
    starts, ends = datetime(2026, 5, 1, 3, tzinfo=UTC), datetime(2026, 5, 4, 3, tzinfo=UTC)
    times = times_of(Rhythm(cron="0 3 * * *", starts_at=starts, ends_at=ends))
    found, at = list[datetime](), times.after(START)
    while at is not None:
        found.append(at)
        at = times.after(at)
    assert [each.day for each in found] == [1, 2, 3, 4]
    assert times.until(END) == ends
    assert times.until(starts - timedelta(seconds=1)) is None
