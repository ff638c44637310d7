"""The rules of health: whatever is reported, a sick API is left alone, and no well one for ever."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.health import (
    LOWEST_PACE,
    PROBE_SECONDS,
    RAMP_FROM,
    BreakerState,
    Health,
    HealthBook,
    HealthRules,
    News,
    ramp,
    risen,
    us,
)

RULES = HealthRules(calls=4, open_seconds=2.0, longest_open_seconds=9.0, probes=2)
BEGIN = 1_000_000_000


@dataclass(frozen=True)
class Step:
    """One process reports what became of its probes and calls."""

    after: float
    process: int
    calls: int
    failures: int
    good: bool
    wants: int
    throttled: bool


steps = st.builds(
    Step,
    after=st.floats(0, 3), process=st.integers(0, 2), calls=st.integers(0, 6),
    failures=st.integers(0, 6), good=st.booleans(), wants=st.integers(0, 3),
    throttled=st.booleans(),
)  # fmt: skip


class Play:
    """Processes that keep to what they are told: one probe ends with each report."""

    def __init__(self) -> None:
        self.book = HealthBook(generation="g")
        self.now = BEGIN
        self.known = [Health()] * 3
        self.heard_at = [BEGIN] * 3

    def step(self, step: Step) -> Health:
        self.now += us(step.after)
        before = self.known[step.process]
        lease_holds = self.now - self.heard_at[step.process] < us(PROBE_SECONDS)
        held = before.probes if lease_holds else 0
        ended = min(held, 1)
        news = News(
            episode=before.episode, calls=step.calls, failures=min(step.failures, step.calls),
            throttled=step.throttled, probes_held=held - ended, probes_wanted=step.wants,
            probes_good=ended * step.good, probes_bad=ended * (not step.good),
        )  # fmt: skip
        self.known[step.process] = found = self.book.report(
            f"p{step.process}", news, RULES, self.now
        )
        self.heard_at[step.process] = self.now
        return found

    def probing(self) -> int:
        """Probes that may be under way now."""
        return sum(
            known.probes
            for known, at in zip(self.known, self.heard_at, strict=True)
            if known.episode == self.book.episode and self.now - at < us(PROBE_SECONDS)
        )


@given(history=st.lists(steps, max_size=60))
def test_never_too_many_probes_and_nothing_shut_for_long(history: list[Step]) -> None:
    play = Play()
    for step in history:
        episode, state = play.book.episode, play.book.state
        found = play.step(step)
        assert play.probing() <= RULES.probes
        assert 0 <= found.open_seconds <= RULES.longest_open_seconds
        assert LOWEST_PACE <= found.pace <= 1
        assert found.probes == 0 or found.state is BreakerState.HALF_OPEN
        legal = {
            BreakerState.CLOSED: (BreakerState.CLOSED, BreakerState.OPEN),
            # Its time is over, and the probe that is reported with it has gone wrong at once.
            BreakerState.OPEN: tuple(BreakerState),
            BreakerState.HALF_OPEN: tuple(BreakerState),
        }
        assert found.state in legal[state]
        assert found.episode >= episode


@given(history=st.lists(steps, max_size=40))
def test_whatever_happened_a_well_api_is_taken_up_again(history: list[Step]) -> None:
    play = Play()
    for step in history:
        play.step(step)
    for _ in range(40):
        well = Step(
            after=1.0, process=0, calls=5, failures=0, good=True, wants=1, throttled=False
        )  # fmt: skip
        found = play.step(well)
    assert found.state is BreakerState.CLOSED


def test_an_outage_is_noticed_soon_where_traffic_is_dense() -> None:
    book = HealthBook()
    for second in range(10):
        book.report("p", News(calls=100), RULES, BEGIN + us(second))
    state = book.report("p", News(calls=100, failures=100), RULES, BEGIN + us(10)).state
    assert state is BreakerState.OPEN


def test_a_few_failures_among_many_calls_do_nothing() -> None:
    book = HealthBook()
    for second in range(100):
        found = book.report("p", News(calls=100, failures=40), RULES, BEGIN + us(second))
        assert found.state is BreakerState.CLOSED


def test_ramp_and_rise() -> None:
    assert ramp(0.0, RULES) == RAMP_FROM
    assert ramp(RULES.ramp_seconds, RULES) == 1.0
    assert ramp(0.0, HealthRules(ramp_seconds=0.0)) == 1.0
    assert risen(LOWEST_PACE, 60.0) == 1.0
    assert risen(0.5, 0.0) == 0.5


def test_what_another_book_said_is_taken_over() -> None:
    book = HealthBook()
    known = Health(state=BreakerState.OPEN, open_seconds=3.0, pause_seconds=5.0, pace=0.5)
    book.take_over(known, BEGIN)
    found = book.report("", News(), RULES, BEGIN)
    assert (found.state, found.open_seconds) == (BreakerState.OPEN, 3.0)
    assert (found.pause_seconds, found.pace) == (5.0, 0.5)
    book.close()
    assert book.report("", News(), RULES, BEGIN).state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ("+++", BreakerState.CLOSED),
        ("-++", BreakerState.CLOSED),
        ("++-", BreakerState.CLOSED),
        ("+-", BreakerState.HALF_OPEN),
        ("--", BreakerState.OPEN),
        ("-+-", BreakerState.OPEN),
    ],
)
def test_probes_are_judged_together_as_calls_are(ended: str, state: BreakerState) -> None:
    """An API that fails a fifth of its calls at all times must not stay shut after an outage."""
    rules = HealthRules(probes=3, failure_rate=0.5)
    book = HealthBook()
    book.report("p", News(calls=100, failures=100), rules, BEGIN)
    at = BEGIN + us(rules.open_seconds)
    found = book.report("p", News(probes_wanted=3), rules, at)
    assert (found.state, found.probes) == (BreakerState.HALF_OPEN, 3)
    for mark in ended:
        news = News(
            episode=found.episode, probes_good=int(mark == "+"), probes_bad=int(mark == "-")
        )
        found = book.report("p", news, rules, at := at + 1)
    assert found.state is state
