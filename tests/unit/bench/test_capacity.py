"""The fit finds the costs that made what was observed, and says how far off it is elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from orchestrator.core.capacity import Cost, Resource
from tests.bench.capacity.fitting import compare, fit, of_each
from tests.bench.capacity.observing import Observed, Setup

COST = Cost(run=0.004, step=0.001, call=0.0005, worker_second=0.02)
SETUPS = [
    Setup(load=load, steps=steps, workers=2, runs=1000)
    for load in ("noop", "io20") for steps in (2, 10)
]  # fmt: skip
HELD_BACK = Setup(load="io200", steps=5, workers=1, runs=500)


def observed(setup: Setup, *, off: float = 1.0, cost: Cost = COST) -> Observed:
    """As these costs would have it, in ten seconds."""
    calls = setup.steps if setup.call_seconds else 0
    of_runs = setup.runs * (cost.run + setup.steps * cost.step + calls * cost.call) * off
    idle = cost.worker_second * setup.workers
    return Observed(
        setup=setup, seconds=10.0, used=dict.fromkeys(Resource, of_runs + 10.0 * idle),
        idle=dict.fromkeys(Resource, idle),
        alone_seconds=setup.steps * (setup.call_seconds + 0.003),
    )  # fmt: skip


def test_the_costs_are_found() -> None:
    found = fit([observed(setup) for setup in SETUPS])
    assert found.step_seconds == pytest.approx(0.003)
    for resource in Resource:
        cost = found.of[resource]
        assert (cost.run, cost.step, cost.call, cost.worker_second) == pytest.approx(
            (COST.run, COST.step, COST.call, COST.worker_second)
        )


def test_what_was_held_back_is_compared_by_its_own_runs_and_time() -> None:
    unbound = replace(fit([observed(setup) for setup in SETUPS]), busy_transactions=math.inf)
    found = compare(unbound, [observed(HELD_BACK)])
    assert [each.off for each in found] == pytest.approx([0.0] * len(Resource))
    found = compare(unbound, [observed(HELD_BACK, off=2.0)])
    assert all(each.off < -0.4 for each in found), "half of what was measured was predicted"


def test_the_quickest_round_of_each_counts() -> None:
    calm = [observed(setup) for setup in SETUPS]
    beside_others = [replace(observed(setup, off=1.7), seconds=17.0) for setup in SETUPS]
    assert of_each(Resource.WORKER_CPU, [*beside_others, *calm, *beside_others]) == calm


def test_of_what_is_shared_the_round_in_the_middle_counts() -> None:
    few, usual, many = (
        replace(observed(HELD_BACK, off=off), seconds=12 - off) for off in (0.5, 1.0, 1.5)
    )
    rounds = [many, few, usual]
    assert of_each(Resource.REDIS_COMMANDS, rounds) == [usual]
    assert of_each(Resource.REDIS_CPU, rounds) == [many], "the quickest"


def test_a_busy_worker_s_transactions_bound_the_prediction() -> None:
    rounds = [observed(setup) for setup in SETUPS]
    found = fit(rounds).busy_transactions
    each = sorted(seen.used[Resource.DATABASE_TRANSACTIONS] / 20 for seen in rounds)
    assert found == pytest.approx((each[1] + each[2]) / 2), "of two workers in ten seconds"


def test_no_cost_is_below_zero() -> None:
    """Noise has a run of many steps look cheaper than that of few."""
    rounds = [observed(setup, off=2.0 if setup.steps == 2 else 0.3) for setup in SETUPS]
    for cost in fit(rounds).of.values():
        assert min(cost.run, cost.step, cost.call, cost.worker_second) >= 0
        assert cost.run > 0
