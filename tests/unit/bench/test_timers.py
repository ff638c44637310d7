"""What `bench timers` says of sleepers."""

from __future__ import annotations

import pytest

from tests.bench.timers import Woken, judged


def woken(late: float, *, settled: float | None = None, succeeded: bool = True) -> Woken:
    ended = late if settled is None else settled
    return Woken(until=100.0, closed=100.0 + late, settled=100.0 + ended, succeeded=succeeded)


def test_figures_of_sleepers_that_woke_in_time() -> None:
    found = judged([woken(n / 100, settled=n / 50) for n in range(100)], wanted=100, doubled=0)
    assert (found["late_p50_seconds"], found["late_p99_seconds"]) == (0.5, 0.99)
    assert (found["ended_p99_seconds"], found["late_max_seconds"]) == (1.98, 0.99)
    assert (found["reached"], found["kept"]) == (True, True)


def test_late_ones_break_no_promise_and_are_not_what_was_wanted() -> None:
    found = judged([woken(0.1), woken(1.5)], wanted=2, doubled=0)
    assert (found["reached"], found["kept"]) == (False, True)


@pytest.mark.parametrize(
    ("more", "doubled", "broken"),
    [
        ([woken(0.1)], 1, "duplicates"),
        ([woken(-0.01)], 0, "early"),
        ([], 0, "lost"),
        ([Woken(until=100.0, closed=0.0, settled=0.0, succeeded=False)], 0, "lost"),
        ([woken(0.1, succeeded=False)], 0, "lost"),
    ],
)
def test_what_is_promised_is_judged(more: list[Woken], doubled: int, broken: str) -> None:
    found = judged([woken(0.1), *more], wanted=2, doubled=doubled)
    assert (found[broken], found["kept"]) == (1, False)
