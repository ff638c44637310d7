"""Error budgets: burn rates, and alarms of simulated weeks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest

from orchestrator.core.slo import (
    ALL_OTHERS,
    BUILT_IN,
    DAY,
    HOUR,
    LEAST_BAD,
    MINUTE,
    QUIET_SECONDS,
    RULES,
    AlarmState,
    Count,
    Objective,
    ObjectiveKind,
    Source,
    Urgency,
    alarm_moves,
    budget_used,
    burn_rate,
    burning,
    objectives_of,
    window_start,
)

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
SUCCESS = Objective(workflow="checkout", kind=ObjectiveKind.SUCCESS, target=0.99)
UNDOS = Objective(
    workflow="checkout", kind=ObjectiveKind.COMPENSATION, target=0.99,
    least_bad=LEAST_BAD[ObjectiveKind.COMPENSATION],
)  # fmt: skip
PASS = 2 * MINUTE
"""By how much an alarm may be later than its rule: a minute, and a pass."""


# --- a week, minute by minute ---------------------------------------------------------------------


@dataclass
class Week:
    """What alarms are raised and ended over these minutes, by the same moves as in production."""

    objective: Objective
    good: list[int]
    bad: list[int]
    opened: list[tuple[int, Urgency]] = field(default_factory=list)  # minute
    closed: list[tuple[int, Urgency]] = field(default_factory=list)

    def run(self) -> Week:
        good, bad = [0, *accumulate(self.good)], [0, *accumulate(self.bad)]
        known: list[AlarmState] = []
        for minute in range(1, len(self.good) + 1):
            counts = {
                seconds: Count(
                    good[minute] - good[max(minute - seconds // MINUTE, 0)],
                    bad[minute] - bad[max(minute - seconds // MINUTE, 0)],
                )
                for seconds in self.objective.windows
            }
            known = self.step(known, burning(self.objective, counts), minute)
        return self

    def step(
        self, known: list[AlarmState], holds: Mapping[Urgency, object], minute: int
    ) -> list[AlarmState]:
        now = MONDAY + timedelta(minutes=minute)
        moves = alarm_moves(known, holds, now)
        self.opened += [(minute, each) for each in moves.opens]
        self.closed += [(minute, each) for each in moves.closes]

        def moved(state: AlarmState) -> AlarmState:
            if state.closed_at is None and state.urgency in moves.goes_on:
                return replace(state, burning_at=now)
            if state.closed_at is None and state.urgency in moves.closes:
                return replace(state, closed_at=now)
            return state

        fresh = [AlarmState(urgency=each, burning_at=now) for each in moves.opens]
        return [*map(moved, known), *fresh]


def week(
    objective: Objective,
    bad_part: Callable[[int], float],
    *,
    days: int,
    a_minute: int = 20,
    seed: int = 1,
) -> Week:
    """Days of traffic that comes and goes, of which at each minute such a part is bad."""
    rng = random.Random(seed)
    good, bad = [], []
    for minute in range(days * 24 * 60):
        events = rng.randint(a_minute // 2, a_minute * 3 // 2)
        part = bad_part(minute)
        failed = sum(rng.random() < part for _ in range(events))
        good.append(events - failed)
        bad.append(failed)
    return Week(objective, good, bad).run()


@pytest.mark.parametrize("a_minute", [20, 1])
def test_a_quiet_week_raises_nothing(a_minute: int) -> None:
    """Half of what the budget bears, busy or not."""
    assert week(SUCCESS, lambda _: 0.005, a_minute=a_minute, days=7).opened == []


def test_a_few_failures_of_few_runs_are_no_alarm() -> None:
    counts = dict.fromkeys(SUCCESS.windows, Count(good=2, bad=4))
    assert burning(SUCCESS, counts) == {}
    assert burning(replace(SUCCESS, least_bad=4), counts).keys() == set(Urgency)


@pytest.mark.parametrize("bad_part", [0.15, 0.5, 1.0])
def test_an_incident_pages_within_the_documented_time(bad_part: float) -> None:
    begins = 24 * 60
    found = week(SUCCESS, lambda minute: bad_part if minute >= begins else 0.0005, days=2)
    (minute, urgency), *others = found.opened
    detection = min(
        seconds for rule in RULES if rule.urgency is Urgency.PAGE
        if (seconds := rule.detection_seconds(SUCCESS, bad_part)) is not None
    )  # fmt: skip
    assert urgency is Urgency.PAGE
    assert not others
    assert 0 < (minute - begins) * MINUTE <= detection * 1.2 + PASS


def test_documented_times() -> None:
    """As docs/slos.md says, for a target of 99 %, in minutes."""
    found = {
        part: [
            None if (seconds := rule.detection_seconds(SUCCESS, part)) is None
            else round(seconds / MINUTE, 1)
            for rule in RULES
        ]
        for part in (1.0, 0.15, 0.1, 0.05, 0.02)
    }  # fmt: skip
    assert found == {
        1.0: [8.6, 21.6, 43.2, 43.2], 0.15: [57.6, 144.0, 288.0, 288.0],
        0.1: [None, 216.0, 432.0, 432.0], 0.05: [None, None, 864.0, 864.0],
        0.02: [None, None, None, 2160.0],
    }  # fmt: skip


def test_one_incident_is_one_alarm_and_ends_once() -> None:
    """An outage that stutters for two hours: one page, no ticket for its echo."""
    begins, ends = 24 * 60, 24 * 60 + 120

    def stutters(minute: int) -> float:
        return 0.9 if begins <= minute < ends and minute % 7 < 5 else 0.001

    found = week(SUCCESS, stutters, days=3)
    assert [urgency for _, urgency in found.opened] == [Urgency.PAGE]
    ((closed, _),) = found.closed
    assert ends < closed <= ends + (30 + QUIET_SECONDS // MINUTE) + 5


def test_a_second_incident_pages_again() -> None:
    days = (24 * 60, 2 * 24 * 60)

    def twice(minute: int) -> float:
        return 0.8 if any(begin <= minute < begin + 60 for begin in days) else 0.001

    found = week(SUCCESS, twice, days=3)
    assert [urgency for _, urgency in found.opened].count(Urgency.PAGE) == 2


def test_slow_burning_is_a_ticket() -> None:
    found = week(SUCCESS, lambda minute: 0.02 if minute > 24 * 60 else 0.001, days=4)
    assert [urgency for _, urgency in found.opened] == [Urgency.TICKET]


def test_climbing_failures_of_undos_page() -> None:
    """From none to a half within six hours, of some hundred undone runs an hour."""
    begins = 24 * 60

    def climbs(minute: int) -> float:
        return min(max(minute - begins, 0) / (6 * 60), 1.0) / 2

    found = week(UNDOS, climbs, a_minute=2, days=2)
    page = min(minute for minute, urgency in found.opened if urgency is Urgency.PAGE)
    # It comes to 14.4 % after 104 minutes, and the hour before has that on average 30 later.
    assert begins < min(minute for minute, _ in found.opened)
    assert page <= begins + (104 + 30) * 1.2


# --- numbers --------------------------------------------------------------------------------------


def test_burn_rates() -> None:
    assert [rule.burn_rate(SUCCESS) for rule in RULES] == pytest.approx([14.4, 6.0, 3.0, 1.0])
    assert burn_rate(SUCCESS, Count(good=85, bad=15)) == pytest.approx(15.0)
    assert burn_rate(SUCCESS, Count()) == 0.0
    counts = {30 * DAY: Count(good=995, bad=5)}
    assert budget_used(SUCCESS, counts) == pytest.approx(0.5)


def test_a_low_target_can_still_be_missed_badly_enough() -> None:
    low = replace(SUCCESS, target=0.8)
    counts = dict.fromkeys(low.windows, Count(good=30, bad=70))
    assert RULES[0].burn_rate(low) * low.budget > 1
    assert Urgency.PAGE in burning(low, counts)
    assert burning(low, dict.fromkeys(low.windows, Count(good=85, bad=15))) == {}


def test_both_windows_have_to_burn() -> None:
    over = {seconds: Count(good=50, bad=50) for seconds in SUCCESS.windows}
    calm = {seconds: Count(good=100) for seconds in SUCCESS.windows}
    for rule in RULES:
        assert rule.holds(SUCCESS, over)
        for seconds in (rule.long_seconds, rule.short_seconds):
            assert not rule.holds(SUCCESS, {**over, seconds: calm[seconds]})


def test_windows_begin_with_whole_minutes_and_hours() -> None:
    now = MONDAY + timedelta(hours=5, minutes=6, seconds=7)
    start = int(MONDAY.timestamp())
    assert window_start(now, 5 * MINUTE) == start + 5 * HOUR + MINUTE
    assert window_start(now, DAY) == start + 5 * HOUR - DAY


# --- what holds for which workflow ----------------------------------------------------------------


def test_objectives_are_a_workflows_own_before_those_of_all_others() -> None:
    general = replace(SUCCESS, workflow=ALL_OTHERS, target=0.9)
    declared = {
        ALL_OTHERS: {ObjectiveKind.SUCCESS: general},
        "checkout": {ObjectiveKind.SUCCESS: SUCCESS, ObjectiveKind.COMPENSATION: None},
    }
    found = objectives_of(declared, {"other": {}})
    undos = BUILT_IN[ObjectiveKind.COMPENSATION]
    assert undos is not None
    assert found == [
        SUCCESS, replace(undos, workflow="other"), replace(general, workflow="other"),
    ]  # fmt: skip


def test_what_a_workflow_says_itself_stands_between_its_own_line_and_that_of_all_others() -> None:
    kind = ObjectiveKind.SUCCESS
    told = {"checkout": {"success": {"target": 0.95}, "compensation": None}}
    (own,) = objectives_of({}, told)
    assert own == replace(SUCCESS, target=0.95, source=Source.DOCUMENT)
    for_all = {ALL_OTHERS: {kind: replace(SUCCESS, target=0.5, workflow=ALL_OTHERS)}}
    assert objectives_of(for_all, told) == [own]
    assert objectives_of({**for_all, "checkout": {kind: SUCCESS}}, told) == [SUCCESS]
    assert objectives_of({"checkout": {kind: None}}, told) == []


def test_an_alarm_is_over_when_its_rule_has_not_held_for_long_enough() -> None:
    state = AlarmState(urgency=Urgency.PAGE, burning_at=MONDAY)
    before = MONDAY + timedelta(seconds=QUIET_SECONDS - 1)
    assert alarm_moves([state], [], before) == alarm_moves([], [], before)
    after = MONDAY + timedelta(seconds=QUIET_SECONDS)
    assert alarm_moves([state], [], after).closes == {Urgency.PAGE}
    assert alarm_moves([state], [Urgency.PAGE], after).goes_on == {Urgency.PAGE}
