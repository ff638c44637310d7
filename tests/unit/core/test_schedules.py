"""What a schedule's times become, as a table and in long histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.schedules import (
    LATE_SECONDS,
    MOST_QUEUED,
    MOST_TIMES_A_TURN,
    CatchUp,
    Decision,
    FiringKind,
    FiringState,
    Open,
    Overlap,
    Rhythm,
    Schedule,
    Turn,
    due_at,
    take_turn,
    to_end,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DUE, QUEUED, SKIPPED, STARTED = (
    FiringState.DUE, FiringState.QUEUED, FiringState.SKIPPED, FiringState.STARTED,
)  # fmt: skip
MINUTELY = Schedule(workflow="report", rhythm=Rhythm(every_seconds=60, starts_at=START))


class Minutes:
    """Times a minute apart, for ever."""

    def after(self, at: datetime) -> datetime | None:
        return START + ((at - START) // timedelta(minutes=1) + 1) * timedelta(minutes=1)

    def until(self, at: datetime) -> datetime | None:
        found = START + (at - START) // timedelta(minutes=1) * timedelta(minutes=1)
        return found if found >= START else None


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def turn(schedule: Schedule, *, next_at: float, now: float, opens: tuple[Open, ...] = ()) -> Turn:
    return take_turn(
        schedule, Minutes(), schedule_id="s", next_at=minute(next_at), opens=opens, now=minute(now)
    )


def told(decisions: object) -> list[tuple[float, str]]:
    assert isinstance(decisions, list)
    return [((each.at - START) / timedelta(minutes=1), each.state.value) for each in decisions]


def running(at: float) -> Open:
    return Open(at=minute(at), kind=FiringKind.TIME, state=STARTED, run_id=f"run-{at:g}")


def queued(at: float, kind: FiringKind = FiringKind.TIME) -> Open:
    return Open(at=minute(at), kind=kind, state=QUEUED)


def test_a_time_that_has_come_begins_and_the_next_is_waited_for() -> None:
    found = turn(MINUTELY, next_at=5, now=5.01)
    assert told(found.new) == [(5, "due")]
    assert found.next_at == found.due_at == minute(6)
    assert turn(MINUTELY, next_at=6, now=5.9).is_nothing


def test_a_time_while_a_run_goes_on_is_what_the_schedule_says() -> None:
    found = {
        overlap: told(turn(replace(MINUTELY, overlap=overlap), next_at=5, now=5.1,
                           opens=(running(4),)).new)
        for overlap in Overlap
    }  # fmt: skip
    assert found == {
        Overlap.ALLOW: [(5, "due")], Overlap.SKIP: [(5, "skipped")],
        Overlap.QUEUE: [(5, "queued")], Overlap.CANCEL: [(5, "queued")],
    }  # fmt: skip


def test_who_waits_goes_first_and_one_at_a_time() -> None:
    schedule = replace(MINUTELY, overlap=Overlap.QUEUE)
    found = turn(schedule, next_at=7, now=7.1, opens=(queued(6), queued(5)))
    assert told(found.moved) == [(5, "due")]
    assert told(found.new) == [(7, "queued")]


def test_with_cancel_the_newest_alone_waits_and_the_run_is_to_end() -> None:
    schedule = replace(MINUTELY, overlap=Overlap.CANCEL)
    opens = (running(4), queued(5))
    found = turn(schedule, next_at=6, now=7.1, opens=opens)
    assert told(found.new) == [(6, "skipped"), (7, "queued")]
    assert told(found.moved) == [(5, "skipped")]
    assert to_end(schedule, opens) == [running(4)]
    asked = replace(running(4), is_ending=True)
    assert to_end(schedule, (asked, queued(5))) == []
    assert to_end(schedule, (running(4),)) == []
    asked_for = queued(3, FiringKind.BACKFILL)
    assert told(turn(schedule, next_at=8, now=7.1, opens=(running(4), asked_for)).moved) == []


def test_no_more_than_so_many_wait() -> None:
    waiting = tuple(queued(-number) for number in range(MOST_QUEUED))
    schedule = replace(MINUTELY, overlap=Overlap.QUEUE)
    found = turn(schedule, next_at=5, now=5.1, opens=(running(4), *waiting))
    assert told(found.new) == [(5, "skipped")]


def test_times_at_which_nobody_looked() -> None:
    def new(catch_up: CatchUp, now: float, **more: float) -> list[Decision]:
        schedule = replace(MINUTELY, overlap=Overlap.ALLOW, catch_up=catch_up, **more)
        found = turn(schedule, next_at=10, now=now)
        assert found.next_at == minute(int(now) + 1)
        return list(found.new)

    missed, *begun = new(CatchUp.NONE, 30.5)
    assert (missed.since, missed.at, missed.state) == (minute(10), minute(29), SKIPPED)
    assert told(begun) == [(30, "due")]
    assert told(new(CatchUp.LAST, 30.5)) == [(29, "skipped"), (30, "due")]
    begun = new(CatchUp.ALL, 30.5)
    assert told(begun) == [(number, "due") for number in range(10, 31)]
    missed, *begun = new(CatchUp.ALL, 30.5, catch_up_seconds=300)
    assert (missed.at, len(begun)) == (minute(25), 5)
    # A little late is not missed.
    assert told(new(CatchUp.NONE, 10 + 0.9 * LATE_SECONDS / 60)) == [(10, "due")]


class Once(Minutes):
    """Nothing comes for a long time."""

    def after(self, at: datetime) -> datetime | None:
        return minute(100_000)

    def until(self, at: datetime) -> datetime | None:
        return minute(10) if at >= minute(10) else None


def test_the_last_one_that_was_missed_is_made_up_for_where_no_other_has_come() -> None:
    found = take_turn(
        replace(MINUTELY, catch_up=CatchUp.LAST), Once(), schedule_id="s", next_at=minute(10),
        opens=(), now=minute(500),
    )  # fmt: skip
    assert told(found.new) == [(10, "due")]
    assert found.next_at == minute(100_000)


def test_many_at_once_are_begun_in_several_turns() -> None:
    schedule = replace(MINUTELY, overlap=Overlap.ALLOW, catch_up=CatchUp.ALL)
    found = turn(schedule, next_at=0, now=1000)
    assert len(found.new) == MOST_TIMES_A_TURN
    assert found.next_at == minute(MOST_TIMES_A_TURN)


def test_a_delay_is_the_same_whoever_asks_and_differs_by_time() -> None:
    schedule = replace(MINUTELY, jitter_seconds=30.0)
    delays = [due_at(schedule, "s", minute(number)) for number in range(200)]
    assert delays == [due_at(schedule, "s", minute(number)) for number in range(200)]
    seconds = [
        (found - minute(number)).total_seconds() for number, found in enumerate(delays) if found
    ]
    assert min(seconds) < 3
    assert max(seconds) > 27
    assert all(0 <= each <= 30 for each in seconds)


@given(
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from(CatchUp),
    jitter=st.sampled_from([0.0, 20.0, 200.0]),
    looks=st.lists(st.tuples(st.floats(0.01, 9), st.booleans(), st.booleans()), max_size=60),
)
def test_whoever_looks_whenever_each_time_is_told_of_once(
    overlap: Overlap, catch_up: CatchUp, jitter: float, looks: list[tuple[float, bool, bool]]
) -> None:
    """Lookers die before they write, and runs end at any moment."""
    schedule = replace(MINUTELY, overlap=overlap, catch_up=catch_up, jitter_seconds=jitter)
    rows: dict[datetime, Decision] = {}
    next_at: datetime | None = minute(0)
    now = minute(0)
    for minutes, dies, ends in looks:
        now += timedelta(minutes=minutes)
        opens = tuple(
            Open(at=at, kind=FiringKind.TIME, state=row.state)
            for at, row in rows.items() if row.state in (DUE, QUEUED)
        )  # fmt: skip
        found = take_turn(
            schedule, Minutes(), schedule_id="s", next_at=next_at, opens=opens, now=now
        )
        if dies:
            continue
        assert not rows.keys() & {each.at for each in found.new}
        rows.update({each.at: each for each in (*found.new, *found.moved)})
        next_at = found.next_at
        going = [at for at, row in rows.items() if row.state is DUE]
        if overlap is not Overlap.ALLOW:
            assert len(going) <= 1
        if ends:
            rows.update({at: Decision(at=at, state=STARTED) for at in going})
    times = [at for at, row in rows.items() if row.since is None]
    for row in rows.values():
        if row.since is not None:
            minutes_told = (row.at - row.since) // timedelta(minutes=1) + 1
            times += [row.since + timedelta(minutes=number) for number in range(minutes_told)]
    assert next_at is not None
    assert sorted(times) == [minute(number) for number in range(len(times))]
    assert next_at == minute(len(times))
