"""How far a map has come: what may begin, what has ended, and when it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.maps import Counts, most_failures


@pytest.mark.parametrize(
    ("said", "total", "found"),
    [(0, 10, 0), (5, 10, 5), ("1%", 100_000, 1000), ("1%", 99, 0), ("0.1%", 3000, 3),
     ("0.07%", 10_000, 7), ("100%", 7, 7), ("29%", 100, 29)],
)  # fmt: skip
def test_a_share_is_rounded_down(said: int | str, total: int, found: int) -> None:
    assert most_failures(said, total) == found


@given(total=st.integers(0, 30), parallel=st.integers(1, 8), most=st.integers(0, 5), data=st.data())
def test_every_item_is_counted_once_until_it_is_over(
    total: int, parallel: int, most: int, data: st.DataObject
) -> None:
    counts = Counts(total=total, parallel=parallel, most_failures=most)
    while not counts.is_over:
        counts = counts.begun(counts.room)
        assert counts.running <= parallel
        ends = data.draw(st.integers(min(1, counts.running), counts.running))
        bad = data.draw(st.integers(0, ends))
        counts = counts.ended(succeeded=ends - bad, failed=bad)
        assert counts.next == counts.running + counts.succeeded + counts.failed
        assert bool(counts.stopped) == (counts.failed > most)
    assert counts.is_accepted == (counts.failed <= most)
    assert counts.room == 0


def test_the_first_reason_to_stop_counts() -> None:
    counts = Counts(total=3, parallel=2).begun(2).with_stop("no").with_stop("another")
    assert (counts.stopped, counts.room) == ("no", 0)
    assert counts.ended(succeeded=1, failed=1).stopped == "no"
