"""How many workers are wanted: by work, and never against an API's limit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.capacity import Cost
from orchestrator.core.plan import LOCAL, WAITING
from orchestrator.core.scaling import (
    SATURATED_SECONDS,
    TASKS,
    Group,
    LaneLoad,
    Where,
    Work,
    Yardstick,
    wanted_workers,
    work_ahead,
)
from orchestrator.core.states import Direction
from tests.unit.core.plans import plan, step

COST = Cost(run=0.001, step=0.001, call=0.002, worker_second=0.1)
BY = Yardstick(
    cost=COST, utilisation=0.7, horizon_seconds=30.0, usual=Work(steps=3, calls={"shop": 3})
)
SHOP = Work(steps=3, calls={"shop": 3})  # 10 ms: a core of 0.6 does 60 a second
ALONE = Work(steps=3, calls={})  # 4 ms
RUN_SECONDS = 0.01


def group(where: Where, number: int, work: Work = SHOP) -> Group:
    return Group(where=where, number=number, ahead=work, whole=work)


def due(number: int, work: Work = SHOP) -> Group:
    return group(Where.DUE, number, work)


def lane(*groups: Group, oldest: float = 0.0, settled: int = 0, workers: int = 1) -> LaneLoad:
    return LaneLoad(
        groups=groups, oldest_due_seconds=oldest, settled=settled, lately_seconds=60.0,
        workers=workers, worker_seconds=60.0 * workers,
    )  # fmt: skip


def workers(load: LaneLoad, slowdown: float = 1.0, **limits: float) -> int:
    return wanted_workers(load, limits, BY, slowdown=slowdown).workers


def test_nothing_wants_nobody_and_one_run_one_worker() -> None:
    assert workers(lane()) == 0
    assert workers(lane(group(Where.PARKED, 1000))) == 0
    assert workers(lane(due(1))) == 1
    assert workers(lane(group(Where.IN_HAND, 1))) == 1


def test_what_is_due_is_to_be_under_way_within_the_horizon() -> None:
    assert workers(lane(due(60 * 30))) == 1
    assert workers(lane(due(60 * 30 + 1))) == 2
    assert workers(lane(due(60 * 30 * 7, ALONE))) == math.ceil(7 * 0.4)


def test_what_ends_goes_on_beside_it() -> None:
    busy = lane(group(Where.IN_HAND, 10), due(60 * 30), settled=120 * 60, workers=2)
    assert workers(busy) == 3


def test_runs_before_a_limit_want_no_more_workers_than_it_lets_work() -> None:
    assert workers(lane(due(1_000_000)), shop=540.0) == 3, "180 runs a second"
    assert workers(lane(due(1_000_000)), shop=0.0) == 0
    assert workers(lane(due(10), due(1_000_000)), shop=3.0) == 1


def test_a_lane_at_its_limit_goes_by_what_passes_however_many_workers_there_are() -> None:
    at_the_limit = lane(
        group(Where.IN_HAND, 9000), group(Where.PARKED, 50_000), due(500), oldest=60.0,
        settled=20 * 60, workers=20,
    )  # fmt: skip
    found = wanted_workers(at_the_limit, {"shop": 60.0}, BY)
    assert found.workers == 1
    assert found.held_back == 500
    assert found.slowdown == 1.0, "it is not the workers who are slow"


def test_what_is_in_hand_and_parked_has_a_limit_first() -> None:
    room = 30 * 9.0
    assert wanted_workers(lane(due(90)), {"shop": 9.0}, BY).held_back == 0
    beside = lane(due(90), group(Where.PARKED, 40), group(Where.IN_HAND, 20))
    assert wanted_workers(beside, {"shop": 9.0}, BY).held_back == 90 - (room / 3 - 60)


def test_runs_that_meet_no_limit_want_theirs_beside_others_that_do() -> None:
    both = lane(due(1_000_000), due(150 * 30 * 2, ALONE))
    assert workers(both, shop=0.0) == 2


def test_workers_that_are_slower_than_their_costs_are_counted_as_slow_and_it_is_remembered() -> (
    None
):
    short = lane(group(Where.IN_HAND, 100), due(6000), oldest=20.0, settled=30 * 60, workers=2)
    found = wanted_workers(short, {}, BY)
    assert found.slowdown == pytest.approx(4.0), "15 a second each, where 60 were thought"
    assert found.workers == math.ceil((30 + 200) / 15)
    calm = lane(group(Where.IN_HAND, 100), settled=30 * 60, workers=4)
    assert wanted_workers(calm, {}, BY, slowdown=found.slowdown).workers == 2
    assert wanted_workers(calm, {}, BY).workers == 1, "without it they would come and go"


def test_workers_that_are_faster_are_seen_to_be_so_at_any_time() -> None:
    fast = lane(group(Where.IN_HAND, 10), settled=240 * 60, workers=2)
    assert wanted_workers(fast, {}, BY, slowdown=3.0).slowdown == pytest.approx(0.5)


def test_where_runs_take_longer_than_one_looks_it_is_one_more_at_a_time() -> None:
    long = lane(group(Where.IN_HAND, 1000), due(100), oldest=30.0, settled=3, workers=2)
    found = wanted_workers(long, {}, BY)
    assert (found.workers, found.slowdown) == (3, 1.0)
    assert workers(replace(long, oldest_due_seconds=SATURATED_SECONDS - 0.1)) == 1


def test_what_lies_ahead_ends_with_a_wait_and_goes_back_by_undos() -> None:
    first, second, third = step("a"), step("b"), step("c", undo=None)
    local = replace(first, call=replace(first.call, api=LOCAL))
    waits = replace(second, call=replace(second.call, api=WAITING))
    task = replace(second, call=replace(second.call, api=TASKS))
    whole = work_ahead(plan(first, second, third), 0, Direction.FORWARD)
    assert (whole.steps, dict(whole.calls)) == (3, {"shop": 3})
    assert work_ahead(plan(first, second, third), 2, Direction.FORWARD).steps == 1
    assert work_ahead(plan(first, second, third), None, Direction.FORWARD).steps == 0
    until = work_ahead(plan(local, first, waits, third), 0, Direction.FORWARD)
    assert (until.steps, dict(until.calls)) == (3, {"shop": 1})
    back = work_ahead(plan(first, second, third), 2, Direction.BACKWARD)
    assert (back.steps, dict(back.calls)) == (2, {"shop": 2})
    inside = work_ahead(plan(task), 0, Direction.FORWARD)
    assert inside.seconds(COST) == pytest.approx(0.002), "a function costs no call"


APIS = ("a", "b", "c")
works = st.builds(
    Work, steps=st.integers(1, 9), calls=st.dictionaries(st.sampled_from(APIS), st.integers(1, 5))
)
groups = st.builds(
    Group, where=st.sampled_from(Where), number=st.integers(0, 100_000), ahead=works, whole=works
)
loads = st.builds(
    LaneLoad, groups=st.lists(groups, max_size=6), oldest_due_seconds=st.floats(0, 1000),
    settled=st.integers(0, 5000), lately_seconds=st.floats(1, 60), workers=st.integers(0, 50),
    worker_seconds=st.floats(0, 3000),
)  # fmt: skip
limits = st.dictionaries(st.sampled_from(APIS), st.floats(0, 10_000))
slowdowns = st.floats(0.02, 50)


@settings(max_examples=50)
@given(loads, limits, slowdowns, st.data())
def test_more_that_is_due_never_wants_fewer(
    load: LaneLoad, limits: dict[str, float], slowdown: float, data: st.DataObject
) -> None:
    before = wanted_workers(load, limits, BY, slowdown=slowdown)
    more = data.draw(st.builds(due, st.integers(1, 100_000), works))
    kept = [
        replace(each, number=each.number + data.draw(st.integers(0, 1000)))
        if each.where is Where.DUE else each
        for each in load.groups
    ]  # fmt: skip
    after = wanted_workers(
        replace(load, groups=[*kept, more], oldest_due_seconds=load.oldest_due_seconds + 1),
        limits, BY, slowdown=slowdown,
    )  # fmt: skip
    assert after.workers >= before.workers


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 1_000_000), min_size=1, max_size=5),
    st.integers(1, 9), st.integers(1, 5), st.floats(0, 10_000), st.integers(0, 5000),
    st.floats(0, 100), slowdowns,
)  # fmt: skip
def test_no_more_are_wanted_than_a_limit_leaves_work_for(
    numbers: list[int], steps: int, calls: int, rate: float, settled: int, oldest: float,
    slowdown: float,
) -> None:  # fmt: skip
    work = Work(steps=steps, calls={"a": calls})
    of_all = [group(Where.IN_HAND, 1, work), *(due(number, work) for number in numbers)]
    load = replace(lane(*of_all, oldest=oldest, settled=settled), workers=0)
    found = wanted_workers(load, {"a": rate}, BY, slowdown=slowdown)
    seconds = rate / calls * work.seconds(COST) * found.slowdown
    assert found.workers <= max(math.ceil(seconds / BY.core), 1)


@settings(max_examples=50)
@given(loads, limits, slowdowns)
def test_runs_in_hand_and_due_ones_that_may_go_on_have_a_worker(
    load: LaneLoad, limits: dict[str, float], slowdown: float
) -> None:
    found = wanted_workers(load, limits, BY, slowdown=slowdown)
    due_ones = sum(each.number for each in load.groups if each.where is Where.DUE)
    assert 0 <= found.held_back <= due_ones
    assert wanted_workers(load, {}, BY, slowdown=slowdown).held_back == 0
    if found.held_back < due_ones or any(
        each.where is Where.IN_HAND and each.number for each in load.groups
    ):
        assert found.workers >= 1
