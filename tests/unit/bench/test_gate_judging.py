"""The arithmetic of `bench gate`: a judge that lets something pass would flatter the gate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.gate.judging import (
    Call,
    Limit,
    SlidingWindow,
    between,
    contended,
    jain,
    most_in_a_window,
    most_in_flight,
    reached,
    sustained,
)


def calls(*at: float, tenant: str = "t", seconds: float = 0.5) -> list[Call]:
    return [Call(at, at + seconds, tenant, 200) for at in at]


def test_a_limit_in_the_notation_of_the_configuration() -> None:
    assert Limit(amount=5000, seconds=10).notation == "5000/10second"
    assert Limit(amount=5000, seconds=10).per_second == 500


def test_a_window_slides() -> None:
    window = SlidingWindow(Limit(amount=2, seconds=1))
    assert [window.admits(at) for at in (0.0, 0.75, 0.9, 1.0, 1.5, 1.75)] == [
        True, True, False, True, False, True,
    ]  # fmt: skip


def test_what_was_refused_does_not_count() -> None:
    window = SlidingWindow(Limit(amount=1, seconds=1))
    assert [window.admits(at) for at in (0.0, 0.5, 0.99, 1.0)] == [True, False, False, True]


def test_grace_forgives_the_end_of_a_window() -> None:
    window = SlidingWindow(Limit(amount=1, seconds=1), grace_seconds=0.1)
    assert [window.admits(at) for at in (0.0, 0.85, 0.95)] == [True, False, True]


def test_a_limit_that_shrinks_holds_at_once() -> None:
    window = SlidingWindow(Limit(amount=4, seconds=1))
    assert all(window.admits(at) for at in (0.0, 0.1, 0.2))
    window.amount = 2
    assert not window.admits(0.3)
    assert window.admits(1.15)  # 0.0 and 0.1 are gone, 0.2 is one of two


@given(
    st.lists(st.floats(0, 20, allow_nan=False), max_size=60).map(sorted),
    st.integers(1, 5), st.integers(1, 4),
)  # fmt: skip
def test_what_is_admitted_never_exceeds_the_limit(
    arrivals: Sequence[float], amount: int, seconds: int
) -> None:
    window = SlidingWindow(Limit(amount=amount, seconds=seconds))
    admitted = calls(*(at for at in arrivals if window.admits(at)))
    if admitted:
        assert most_in_a_window(admitted, seconds) <= amount


@pytest.mark.parametrize(
    ("served", "index"),
    [([5, 5, 5, 5], 1.0), ([10, 0, 0, 0], 0.25), ([1, 2, 3], 36 / 42), ([], 0.0), ([0, 0], 0.0)],
)
def test_jain(served: Sequence[float], index: float) -> None:
    assert jain(served) == pytest.approx(index)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20))
def test_jain_lies_between_one_nth_and_one(served: Sequence[float]) -> None:
    assert 1 / len(served) - 1e-9 <= jain(served) <= 1 + 1e-9


def test_most_in_a_window() -> None:
    seen = calls(0.0, 0.5, 0.6, 1.0, 1.2)
    assert most_in_a_window(seen, 1.0) == 4  # (0.2, 1.2]: 0.0 is a full window before 1.0
    assert most_in_a_window([], 1.0) == 0


def test_in_flight() -> None:
    seen = [Call(0.0, 1.0, "t", 200), Call(0.5, 2.0, "t", 200), Call(1.0, 3.0, "t", 200)]
    assert most_in_flight(seen) == 2  # the first ends as the third begins
    assert reached(seen, 2) == 0.5
    assert reached(seen, 3) is None
    assert reached((call for call in seen), 3) is None
    assert most_in_flight([Call(0.0, math.inf, "t", 0), *seen]) == 3


def test_a_rate_that_is_sustained() -> None:
    slow, fast = [float(n) for n in range(5)], [5 + n / 10 for n in range(30)]
    assert sustained(calls(*slow, *fast), 9.5, seconds=1.0) == 5.0
    assert sustained(calls(*slow), 9.5, seconds=1.0) is None


def test_the_time_in_which_all_want_more_than_there_is() -> None:
    seen = [*calls(*range(11), tenant="a"), *calls(*range(2, 25, 2), tenant="b")]
    ordered = sorted(seen, key=lambda call: call.at)
    begin, end = contended(ordered, ["a", "b"], share=0.9)
    assert (begin, end) == (2, 9)
    assert len(between(ordered, begin, end)) == 7 + 4
    assert contended(ordered, ["a", "c"], share=0.9) == (0, 24)  # nobody served c
