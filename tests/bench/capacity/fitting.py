"""Costs from what was observed, by least squares; and how they predict what they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from orchestrator.core.capacity import Cost, Costs, Database, Load, Resource, predicted
from tests.bench.capacity.observing import Observed, Setup


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A figure that was predicted for a configuration that the fit has not seen."""

    setup: str
    figure: str
    predicted: float
    measured: float

    @property
    def off(self) -> float:
        """By how much of what was measured the prediction is beside it; its sign is up or down."""
        return self.predicted / self.measured - 1.0


_MIDDLE = (
    Resource.REDIS_COMMANDS, Resource.DATABASE_TRANSACTIONS,
    Resource.ACCEPTANCE_CPU,
)  # fmt: skip
"""Calls that come together share a command, and runs a transaction: the busier the machine, the
more of them, so that the quickest round may have the most. To submit takes a twentieth of a second,
whatever the round takes."""


def of_each(resource: Resource, rounds: Sequence[Observed]) -> list[Observed]:
    """The round of each configuration that says what is used of a resource.

    The quickest, since what else a machine does only adds to costs; of some the one in the middle.
    """
    setups = dict.fromkeys(seen.setup for seen in rounds)
    same = [[seen for seen in rounds if seen.setup == setup] for setup in setups]
    if resource in _MIDDLE:
        return [sorted(each, key=lambda seen: seen.used[resource])[len(each) // 2] for each in same]
    return [min(each, key=lambda seen: seen.seconds) for each in same]


def fit(rounds: Sequence[Observed]) -> Costs:
    """The costs that fit best. Needs steps without calls and with them, of two lengths each.

    Each configuration weighs as much as another: what is minimised is the share by which one is
    off. None is below zero.
    """
    alone = [
        seen.alone_seconds / seen.setup.steps - seen.setup.call_seconds for seen in rounds
    ]  # fmt: skip
    busy = of_each(Resource.DATABASE_TRANSACTIONS, rounds)
    return Costs(
        of={resource: _cost(resource, of_each(resource, rounds)) for resource in Resource},
        step_seconds=max(0.0, median(alone)),
        busy_transactions=median(
            seen.used[Resource.DATABASE_TRANSACTIONS] / seen.seconds / seen.setup.workers
            for seen in busy
        ),
    )


def _cost(resource: Resource, rounds: Sequence[Observed]) -> Cost:
    idle = max(0.0, median(seen.idle[resource] / seen.setup.workers for seen in rounds))
    rows, shares = [], []
    for seen in rounds:
        setup, used = seen.setup, seen.used[resource]
        of_runs = max(used - idle * setup.workers * seen.seconds, used * 0.01) / setup.runs
        calls = setup.steps if setup.call_seconds else 0
        rows.append([1 / of_runs, setup.steps / of_runs, calls / of_runs])
        shares.append(1.0)
    run, step, call = _not_negative(np.array(rows), np.array(shares))
    return Cost(run=run, step=step, call=call, worker_second=idle)


def _not_negative(rows: np.ndarray, wanted: np.ndarray) -> list[float]:
    """Least squares; what comes out below zero is zero, and the others are fitted anew."""
    active = list(range(rows.shape[1]))
    while active:
        found, *_ = np.linalg.lstsq(rows[:, active], wanted, rcond=None)
        if (found >= 0).all():
            values = dict(zip(active, map(float, found), strict=True))
            return [values.get(place, 0.0) for place in range(rows.shape[1])]
        active = [place for place, value in zip(active, found, strict=True) if value > 0]
    return [0.0] * rows.shape[1]


_OF_CALLS = (Resource.REDIS_CPU, Resource.REDIS_COMMANDS)
"""Where there are none, Redis brings a message for 64 runs, and little is left to compare."""


def compare(costs: Costs, rounds: Sequence[Observed]) -> list[Compared]:
    """Each figure of each configuration that was held back."""
    return [
        _compared(costs, resource, seen)
        for setup in dict.fromkeys(seen.setup for seen in rounds)
        for resource in Resource
        if setup.call_seconds or resource not in _OF_CALLS
        for seen in of_each(resource, [seen for seen in rounds if seen.setup == setup])
    ]


def _compared(costs: Costs, resource: Resource, seen: Observed) -> Compared:
    setup = seen.setup
    foretold = predicted(
        costs, resource, load_of(setup), runs=setup.runs, seconds=seen.seconds,
        workers=setup.workers,
    )  # fmt: skip
    return Compared(
        setup=setup.name, figure=f"{resource.value} of a run",
        predicted=foretold / setup.runs, measured=seen.used[resource] / setup.runs,
    )  # fmt: skip


def load_of(setup: Setup) -> Load:
    """As the model takes it; what does not matter for what a run uses is as it may be."""
    return Load(
        runs_per_second=1.0, steps=setup.steps, call_seconds=setup.call_seconds, concurrency=500,
        utilisation=0.7, database=Database.POSTGRES, database_cores=1,
    )  # fmt: skip
