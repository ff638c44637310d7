"""The capacity model: units, Little's law, what binds, what is refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.capacity import (
    CONNECTIONS_OF_A_WORKER,
    POOLED_CPU,
    Cost,
    Costs,
    Database,
    Demand,
    Load,
    Resource,
    demand,
    predicted,
)
from orchestrator.errors import InvalidInput
from orchestrator.store import workers as store_workers

NOTHING = Cost(run=0, step=0, call=0, worker_second=0)
LOAD = Load(
    runs_per_second=100, steps=5, call_seconds=0.2, concurrency=500, utilisation=0.5,
    database=Database.POSTGRES, database_cores=4,
)  # fmt: skip


def costs(step_seconds: float = 0.0, **of: Cost) -> Costs:
    """Everything else costs nothing."""
    found = {resource: of.get(resource.name, NOTHING) for resource in Resource}
    return Costs(of=found, step_seconds=step_seconds)


def test_cores_of_workers_are_those_of_runs_steps_and_calls() -> None:
    cost = Cost(run=0.001, step=0.002, call=0.003, worker_second=0.0)
    found = demand(LOAD, costs(WORKER_CPU=cost))
    assert found.worker_cores == pytest.approx(100 * (0.001 + 5 * 0.005))
    assert (found.workers, found.bound) == (6, "cpu"), "2.6 cores, each half busy"
    without = demand(dataclasses.replace(LOAD, call_seconds=0), costs(WORKER_CPU=cost))
    assert without.worker_cores == pytest.approx(100 * (0.001 + 5 * 0.002))
    assert without.calls_per_second == 0


def test_what_idle_workers_use_is_added_for_each_of_them() -> None:
    cost = Cost(run=0.001, step=0, call=0, worker_second=0.1)
    statements = Cost(run=2, step=0, call=0, worker_second=3)
    found = demand(LOAD, costs(WORKER_CPU=cost, DATABASE_TRANSACTIONS=statements))
    assert found.workers == 1, "0.1 cores of 0.4 that are left"
    assert found.worker_cores == pytest.approx(0.2)
    assert found.database_transactions_per_second == pytest.approx(203)


def test_runs_under_way_follow_littles_law_and_bind_where_they_wait() -> None:
    slow = dataclasses.replace(LOAD, call_seconds=59.9)
    found = demand(slow, costs(step_seconds=0.1))
    assert found.runs_in_flight == pytest.approx(100 * 5 * 60)
    assert (found.workers, found.bound) == (60, "concurrency")


def test_amounts_are_for_a_second_or_a_day() -> None:
    cost = Cost(run=10, step=2, call=0, worker_second=0)
    found = demand(LOAD, costs(DATABASE_BYTES=cost, DATABASE_WAL=cost, REDIS_COMMANDS=cost))
    assert found.database_bytes_per_day == 100 * 20 * 86_400
    assert found.database_wal_bytes_per_second == found.redis_commands_per_second == 100 * 20
    assert (found.runs_per_day, found.steps_per_second) == (8_640_000, 500)


def test_a_pooler_takes_connections_away_and_adds_planning() -> None:
    some = costs(
        WORKER_CPU=Cost(run=0.01, step=0, call=0, worker_second=0),
        DATABASE_CPU=Cost(run=0.02, step=0, call=0, worker_second=0),
    )
    plain = demand(LOAD, some)
    pooled = demand(dataclasses.replace(LOAD, database=Database.PGBOUNCER), some)
    assert plain.workers == pooled.workers == 2
    assert (plain.database_connections, pooled.database_connections) == (26, 2)
    assert pooled.database_cores == pytest.approx(plain.database_cores * POOLED_CPU)


def test_connections_of_a_worker_are_those_that_the_store_opens() -> None:
    assert CONNECTIONS_OF_A_WORKER == store_workers.CONNECTIONS_OF_A_WORKER


def test_servers_are_whole_and_leave_room() -> None:
    some = costs(
        DATABASE_CPU=Cost(run=0.0201, step=0, call=0, worker_second=0),
        REDIS_CPU=Cost(run=0.0051, step=0, call=0, worker_second=0),
    )
    found = demand(LOAD, some)
    assert (found.database_servers, found.redis_servers) == (2, 2)


def test_a_prediction_of_a_measurement_has_its_runs_and_its_time() -> None:
    some = costs(REDIS_COMMANDS=Cost(run=1, step=2, call=3, worker_second=0.5))
    used = predicted(some, Resource.REDIS_COMMANDS, LOAD, runs=10, seconds=4, workers=2)
    assert used == 10 * 26 + 4


def test_busy_workers_make_so_many_transactions_and_no_more() -> None:
    dear = Cost(run=1, step=0, call=0, worker_second=0)
    some = dataclasses.replace(costs(DATABASE_TRANSACTIONS=dear), busy_transactions=40)
    transactions = Resource.DATABASE_TRANSACTIONS
    assert predicted(some, transactions, LOAD, runs=100, seconds=2, workers=2) == 100
    assert predicted(some, transactions, LOAD, runs=1000, seconds=2, workers=2) == 160
    assert demand(LOAD, some).database_transactions_per_second == 40, "one worker is enough"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("runs_per_second", 0.0), ("runs_per_second", -1.0), ("runs_per_second", math.nan),
        ("runs_per_second", math.inf), ("steps", 0), ("steps", 1001), ("call_seconds", -0.1),
        ("call_seconds", math.nan), ("concurrency", 0), ("utilisation", 0.0),
        ("utilisation", 1.0), ("database_cores", 0),
    ],
)  # fmt: skip
def test_a_load_that_makes_no_sense_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInput) as refused:
        dataclasses.replace(LOAD, **{name: value})
    (problem,) = refused.value.problems
    assert (problem.place, problem.found) == (name, f"{value:g}")


def test_workers_that_are_busy_by_themselves_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no time for runs"):
        demand(LOAD, costs(WORKER_CPU=Cost(run=1, step=0, call=0, worker_second=0.5)))


amounts = st.floats(0, 1e-2)
all_costs = st.builds(
    Costs,
    of=st.fixed_dictionaries({
        each: st.builds(Cost, run=amounts, step=amounts, call=amounts, worker_second=amounts)
        for each in Resource
    }),
    step_seconds=st.floats(0, 1),
)  # fmt: skip
loads = st.builds(
    Load,
    runs_per_second=st.floats(1e-3, 1e4), steps=st.integers(1, 50),
    call_seconds=st.floats(0, 600), concurrency=st.integers(1, 2000),
    utilisation=st.floats(0.1, 0.9), database=st.sampled_from(Database),
    database_cores=st.integers(1, 64),
)  # fmt: skip
_GROWS = [each.name for each in dataclasses.fields(Demand) if each.name != "bound"]


def _grows(less: Demand, more: Demand) -> None:
    for name in _GROWS:
        before, after = getattr(less, name), getattr(more, name)
        assert after >= before * (1 - 1e-9), name


@settings(max_examples=25)
@given(load=loads, of=all_costs, factor=st.floats(1, 10))
def test_more_runs_take_no_less_of_anything(load: Load, of: Costs, factor: float) -> None:
    more = dataclasses.replace(load, runs_per_second=load.runs_per_second * factor)
    _grows(demand(load, of), demand(more, of))


@settings(max_examples=25)
@given(load=loads, of=all_costs, more=st.integers(0, 50))
def test_more_steps_take_no_less_of_anything(load: Load, of: Costs, more: int) -> None:
    _grows(demand(load, of), demand(dataclasses.replace(load, steps=load.steps + more), of))


@settings(max_examples=25)
@given(load=loads, of=all_costs, more=st.floats(0, 600))
def test_longer_calls_take_no_less_of_anything(load: Load, of: Costs, more: float) -> None:
    longer = dataclasses.replace(load, call_seconds=load.call_seconds + more)
    _grows(demand(load, of), demand(longer, of))


@settings(max_examples=25)
@given(load=loads, of=all_costs, share=st.floats(1, 2))
def test_room_for_more_takes_no_more_workers(load: Load, of: Costs, share: float) -> None:
    busier = dataclasses.replace(load, utilisation=min(0.95, load.utilisation * share))
    roomier = dataclasses.replace(load, concurrency=load.concurrency * 2)
    workers = demand(load, of).workers
    assert demand(busier, of).workers <= workers
    assert demand(roomier, of).workers <= workers
