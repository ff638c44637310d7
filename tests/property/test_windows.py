"""Sketches of calls: what they add up to, and how far off their quantiles are."""

from __future__ import annotations

import math
import random

from ddsketch.mapping import LogarithmicMapping
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import quantile
from orchestrator.core.windows import ACCURACY, Window, bucket_of
from orchestrator.service.api_health import quantiles
from tests.sweeps import so_many, sweep

CALLS = st.lists(
    st.tuples(
        st.floats(1e-5, 3600.0), st.sampled_from([200, 404, 429, 500, None]),
        st.sampled_from([0.0, 0.5]),
    ),
    min_size=1, max_size=200,
)  # fmt: skip


def window(calls: list[tuple[float, int | None, float]]) -> Window:
    made = Window()
    for seconds, status, waited in calls:
        outcome = Outcome.LANDED if status == 200 else Outcome.NOT_LANDED
        made.add(status=status, outcome=outcome, seconds=seconds, waited=waited)
    return made


@settings(max_examples=60, deadline=None)
@given(calls=CALLS, parts=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_parts_in_any_order_add_up_to_the_whole(
    calls: list[tuple[float, int | None, float]], parts: int, seed: int
) -> None:
    pieces = [window(calls[start::parts]) for start in range(parts)]
    random.Random(seed).shuffle(pieces)
    merged = Window()
    for each in pieces:
        read = Window.of_json(each.calls, each.failed, each.throttled, each.as_json())
        merged.merge(read)
    assert merged == window(calls)
    assert merged.calls == len(calls) == sum(merged.seconds.values())
    assert merged.failed == sum(status in (500, None) for _, status, _ in calls)
    assert merged.throttled == sum(status == 429 for _, status, _ in calls)


@settings(max_examples=60, deadline=None)
@given(calls=CALLS)
def test_quantiles_are_off_by_the_accuracy_at_most(
    calls: list[tuple[float, int | None, float]],
) -> None:
    """Between the neighbours of the exact one: ranks are rounded in more ways than one."""
    ordered = sorted(seconds for seconds, _, _ in calls)
    found = quantiles(window(calls).seconds)
    for share, told in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        at = ordered.index(quantile(ordered, share))
        low, high = ordered[max(at - 1, 0)], ordered[min(at + 1, len(ordered) - 1)]
        assert told is not None
        assert low * (1 - 1.01 * ACCURACY) <= told <= high * (1 + 1.01 * ACCURACY)


@sweep
@settings(max_examples=so_many(70, whole=200), deadline=None)
@given(seconds=st.floats(1e-5, 86_400.0))
def test_buckets_are_those_of_the_library(seconds: float) -> None:
    """But for what lies on a bound, where logarithms are rounded in two ways."""
    mapping = LogarithmicMapping(ACCURACY)
    assert abs(bucket_of(seconds) - mapping.key(seconds)) <= 1
    assert math.isclose(mapping.value(bucket_of(seconds)), seconds, rel_tol=1.05 * ACCURACY)
