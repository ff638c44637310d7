"""How many intervals are open at once, exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.demo.peak import peak_overlap

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_intervals_that_only_touch_do_not_overlap() -> None:
    assert peak_overlap([(at(0), at(5)), (at(5), at(9))]) == 1


def test_an_open_end_never_comes() -> None:
    assert peak_overlap([(at(0), None), (at(100), at(101))]) == 2


def test_nothing_and_no_length() -> None:
    assert peak_overlap([]) == 0
    assert peak_overlap([(at(3), at(3)), (at(0), at(9))]) == 1


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20))
def test_equals_counting_at_every_second(pairs: list[tuple[int, int]]) -> None:
    intervals = [(at(min(a, b)), at(max(a, b))) for a, b in pairs]
    counted = max(
        sum(begin <= at(second) < end for begin, end in intervals) for second in range(31)
    )
    assert peak_overlap(intervals) == counted
