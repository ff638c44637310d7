"""The backoff curve and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.retry import RetryPolicy


@pytest.mark.parametrize(
    ("attempts", "jitter", "delay"),
    [(1, 0.0, 0.0), (1, 0.5, 0.25), (2, 0.5, 0.5), (3, 0.5, 1.0), (20, 0.5, 30.0)],
)
def test_exponential_with_full_jitter_and_a_cap(attempts: int, jitter: float, delay: float) -> None:
    policy = RetryPolicy(max_attempts=99)
    assert policy.next_delay(attempts=attempts, elapsed_seconds=0, jitter=jitter) == delay


def test_attempts_run_out() -> None:
    policy = RetryPolicy(max_attempts=2)
    assert policy.next_delay(attempts=1, elapsed_seconds=0, jitter=0) is not None
    assert policy.next_delay(attempts=2, elapsed_seconds=0, jitter=0) is None


def test_time_runs_out_when_the_delay_would_end_after_it() -> None:
    policy = RetryPolicy(max_elapsed_seconds=10)
    assert policy.next_delay(attempts=1, elapsed_seconds=9, jitter=0, retry_after_seconds=2) is None
    assert policy.next_delay(attempts=1, elapsed_seconds=8, jitter=0, retry_after_seconds=2) == 2


@pytest.mark.parametrize(("asked", "given_"), [(-1, 0.0), (5, 5), (10**9, 3600.0)])
def test_an_absurd_retry_after_is_clamped(asked: float, given_: float) -> None:
    policy = RetryPolicy(max_elapsed_seconds=None)
    found = policy.next_delay(attempts=1, elapsed_seconds=0, jitter=0.5, retry_after_seconds=asked)
    assert found == given_


@given(
    attempts=st.integers(1, 10_000),
    elapsed=st.floats(0, 1e9),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_negative_nor_above_the_cap(
    attempts: int, elapsed: float, jitter: float
) -> None:
    policy = RetryPolicy(max_attempts=10_001, max_elapsed_seconds=None)
    delay = policy.next_delay(attempts=attempts, elapsed_seconds=elapsed, jitter=jitter)
    assert delay is not None
    assert 0 <= delay <= policy.max_delay_seconds
