"""Cases of other engines' public suites, put as questions to ours (docs/conformance.md)."""

from __future__ import annotations

import pytest

from orchestrator.core.retry import DEFAULT_RETRY, RetryPolicy

LONGEST = 0.999_999_999  # the jitter lies below 1


def delays(policy: RetryPolicy, *, jitter: float = LONGEST) -> list[float]:
    """Between the attempts of a step that always fails for now, until it is given up."""
    found: list[float] = []
    while True:
        delay = policy.next_delay(
            attempts=len(found) + 1, elapsed_seconds=sum(found), jitter=jitter
        )
        if delay is None:
            return found
        found.append(delay)


def test_without_a_policy_of_its_own_a_step_is_tried_eight_times_within_two_minutes() -> None:
    assert delays(DEFAULT_RETRY) == pytest.approx([0.5, 1, 2, 4, 8, 16, 32])
    assert sum(delays(DEFAULT_RETRY)) < 120


@pytest.mark.parametrize(
    ("multiplier", "wanted"),
    [(1.0, [2, 2, 2, 2]), (3.0, [2, 6, 18, 54])],
    ids=["fixed", "threefold"],
)
def test_intervals_are_fixed_or_grow_as_a_policy_says(
    multiplier: float, wanted: list[float]
) -> None:
    policy = RetryPolicy(max_attempts=5, first_delay_seconds=2, multiplier=multiplier)
    assert delays(policy) == pytest.approx(wanted)
