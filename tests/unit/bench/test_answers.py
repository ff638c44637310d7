"""What `bench answers` says of them."""

from __future__ import annotations

from tests.bench.answers import Answer, figures


def test_what_is_beside_the_run_is_what_is_left() -> None:
    answers = [Answer(heard=20.0 + n, claimed=5.0, ran=10.0 + n) for n in range(100)]
    found = figures(answers)
    assert (found["p50_ms"], found["p99_ms"]) == (70.0, 119.0)
    assert (found["claimed_p50_ms"], found["ran_p50_ms"], found["beside_p50_ms"]) == (5, 60, 5)
