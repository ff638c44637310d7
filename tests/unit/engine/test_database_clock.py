"""The database's clock as a worker knows it, however slowly the database answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.engine.clock import TRUSTED_SECONDS, DatabaseClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Loop:
    """A monotonic clock, and the database's, that the test moves together."""

    def __init__(self) -> None:
        self.at = 100.0
        self.clock = DatabaseClock(monotonic=lambda: self.at)

    @property
    def database_now(self) -> datetime:
        return NOON + timedelta(seconds=self.at - 100.0)

    def ask(self, *, there: float, back: float) -> bool:
        """The database reads its clock between the way there and the way back."""
        asked_at = self.at
        self.at += there
        said = self.database_now
        self.at += back
        return self.clock.correct(said, asked_at=asked_at)

    @property
    def wrong_by(self) -> float:
        return abs((self.clock.now() - self.database_now).total_seconds())


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_before_the_first_answer_there_is_no_time(loop: Loop) -> None:
    with pytest.raises(RuntimeError, match="has not been read"):
        loop.clock.now()


def test_it_goes_on_by_itself(loop: Loop) -> None:
    assert loop.ask(there=0.01, back=0.01)
    loop.at += 30.0
    assert loop.wrong_by < 1e-6


@pytest.mark.parametrize(("there", "back"), [(0.0, 6.0), (6.0, 0.0), (0.5, 3.0)])
def test_a_slow_answer_does_not_spoil_a_good_one(loop: Loop, there: float, back: float) -> None:
    loop.ask(there=0.01, back=0.01)
    assert not loop.ask(there=there, back=back)
    assert loop.wrong_by < 0.02


def test_a_slow_first_answer_is_improved_on(loop: Loop) -> None:
    assert not loop.ask(there=0.0, back=6.0)
    assert 2.9 < loop.wrong_by < 3.1
    assert loop.ask(there=0.0, back=0.02)
    assert loop.wrong_by < 0.02


def test_after_a_while_a_slow_answer_is_better_than_none(loop: Loop) -> None:
    loop.ask(there=0.01, back=0.01)
    loop.at += TRUSTED_SECONDS
    loop.ask(there=1.0, back=0.0)
    assert 0.4 < loop.wrong_by < 0.6


def test_where_all_answers_are_slow_the_best_counts(loop: Loop) -> None:
    loop.ask(there=0.0, back=2.0)
    loop.ask(there=0.0, back=0.4)
    loop.ask(there=0.0, back=1.0)
    assert loop.wrong_by < 0.3


def test_a_better_answer_does_not_turn_it_back(loop: Loop) -> None:
    """What is told after something else is not older than that, in the audit for one."""
    loop.ask(there=3.0, back=0.0)
    told = loop.clock.now()
    assert told > loop.database_now + timedelta(seconds=1)
    assert loop.ask(there=0.01, back=0.01)
    assert loop.clock.now() >= told
    loop.at += 1.0
    assert loop.clock.now() >= told
    loop.at += 2.0
    assert loop.wrong_by < 0.02, "it stands still until it is true again, and goes on then"


def test_what_nobody_was_told_does_not_hold_it_up(loop: Loop) -> None:
    """A first answer was slow, and the next one came before anybody looked."""
    assert not loop.ask(there=3.0, back=0.0)
    assert loop.ask(there=0.01, back=0.01)
    assert loop.wrong_by < 0.02


def test_a_database_whose_clock_was_set_back_is_followed(loop: Loop) -> None:
    loop.ask(there=0.01, back=0.01)
    hour_ago = loop.database_now - timedelta(hours=1)
    assert loop.clock.correct(hour_ago, asked_at=loop.at)
    assert loop.clock.now() == hour_ago
