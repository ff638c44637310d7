"""Who is next before an API: compensations, tenants by weight, priority and age."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.gate_line import AGEING_SECONDS, FairLine, Waiter
from orchestrator.ports import Visit

Line = FairLine[str]


@pytest.fixture
def line() -> Line:
    return FairLine({"gold": 3.0})


def waiter(
    tenant: str = "acme", *, at: float = 0.0, priority: int = 0, undo: bool = False,
    served_before: bool = False,
) -> Waiter[str]:  # fmt: skip
    visit = Visit(api="api", tenant=tenant, priority=priority, undo=undo)
    return Waiter(visit, at, asyncio.get_running_loop().create_future(), served_before)


def join(line: Line, *waiters: Waiter[str]) -> None:
    for each in waiters:
        line.join(each)


def serve(line: Line, most: int = 1_000_000) -> list[Waiter[str]]:
    """Serve as the queue does."""
    served: list[Waiter[str]] = []
    while len(served) < most and (next_one := line.next()) is not None:
        line.serve(next_one)
        next_one.turn.set_result("served")
        line.leave(next_one)
        served.append(next_one)
    return served


def tenants(served: Iterable[Waiter[str]]) -> list[str]:
    return [each.visit.tenant for each in served]


async def test_first_come_first_served_for_equals(line: Line) -> None:
    waiters = [waiter(at=float(number)) for number in range(5)]
    join(line, *waiters)
    assert serve(line) == waiters


async def test_compensations_go_before_all_new_work(line: Line) -> None:
    new, undo = waiter(at=0.0, priority=9), waiter(at=1.0, undo=True)
    join(line, new, undo)
    assert serve(line) == [undo, new]


async def test_whoever_missed_its_turn_is_next(line: Line) -> None:
    undo, again = waiter(undo=True), waiter(at=5.0, served_before=True)
    join(line, undo, again)
    assert serve(line) == [again, undo]


async def test_a_large_backlog_does_not_keep_a_small_one_waiting(line: Line) -> None:
    join(line, *(waiter("large") for _ in range(100)))
    join(line, *(waiter("small") for _ in range(3)))
    assert tenants(serve(line, 6)).count("small") == 3


async def test_a_tenant_of_weight_three_is_served_three_times_as_often(line: Line) -> None:
    join(line, *(waiter("gold") for _ in range(100)), *(waiter("acme") for _ in range(100)))
    served = Counter(tenants(serve(line, 80)))
    assert served == {"gold": 60, "acme": 20}


async def test_who_had_nothing_waiting_has_saved_nothing_up(line: Line) -> None:
    join(line, *(waiter("busy") for _ in range(50)))
    serve(line, 40)
    join(line, *(waiter("late") for _ in range(50)))
    assert Counter(tenants(serve(line, 10))) == {"busy": 5, "late": 5}


async def test_who_comes_one_by_one_is_served_no_more_often_than_its_share(line: Line) -> None:
    """Leaving and joining again must not begin a new account each time."""
    join(line, *(waiter("busy") for _ in range(100)))
    served: list[str] = []
    for _ in range(20):
        join(line, waiter("single"))
        served += tenants(serve(line, 2))
    assert Counter(served) == {"busy": 20, "single": 20}


async def test_priority_goes_first_and_age_catches_up(line: Line) -> None:
    low = waiter(at=0.0)
    soon = waiter(at=AGEING_SECONDS - 1, priority=1)
    late = waiter(at=AGEING_SECONDS + 1, priority=1)
    join(line, late, soon, low)
    assert serve(line) == [soon, low, late]


async def test_those_who_have_gone_are_passed_over_and_do_not_count(line: Line) -> None:
    gone, stays = waiter("a"), waiter("b")
    join(line, gone, stays)
    gone.turn.cancel()
    line.leave(gone)
    assert line.ahead_of(Visit(api="api", tenant="c")) == 1
    assert list(line.everybody()) == [stays]
    assert serve(line) == [stays]


async def test_how_many_are_ahead_depends_on_the_tenant(line: Line) -> None:
    join(line, *(waiter("large") for _ in range(100)), waiter("large", undo=True))
    assert line.ahead_of(Visit(api="api", tenant="large")) == 101
    assert line.ahead_of(Visit(api="api", tenant="small")) == 2
    assert line.ahead_of(Visit(api="api", tenant="small", undo=True)) == 1
    assert line.share_of(Visit(api="api", tenant="gold")) == pytest.approx(0.75)


@given(
    waits=st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.booleans()), max_size=60
    ),
    leaves=st.sets(st.integers(0, 59)),
)
def test_everybody_is_served_once_and_tenants_keep_level(
    waits: list[tuple[str, int, bool]], leaves: set[int]
) -> None:
    async def check() -> None:
        line: Line = FairLine({"a": 2.0})
        waiters = [
            waiter(tenant, at=float(at), priority=priority, undo=undo)
            for at, (tenant, priority, undo) in enumerate(waits)
        ]
        join(line, *waiters)
        for place in sorted(leaves):
            if place < len(waiters):
                waiters[place].turn.cancel()
                line.leave(waiters[place])
        staying = [each for each in waiters if not each.gone]
        served = serve(line)
        assert sorted(map(id, served)) == sorted(map(id, staying))
        undos = [each.visit.undo for each in served]
        assert undos == sorted(undos, reverse=True)
        _keep_level([each for each in served if not each.visit.undo], line)

    asyncio.run(check())


def _keep_level(served: list[Waiter[str]], line: Line) -> None:
    """While two tenants both wait, neither is more than one turn ahead by weight."""
    left = Counter(tenants(served))
    had: Counter[str] = Counter()
    for each in served:
        had[each.visit.tenant] += 1
        left[each.visit.tenant] -= 1
        waiting = [name for name, number in left.items() if number > 0]
        turns = [had[name] / line.weight(name) for name in waiting]
        assert not turns or max(turns) - min(turns) <= 1.0 + 1e-9


async def test_tenants_that_have_gone_are_forgotten(line: Line) -> None:
    for number in range(100):
        join(line, waiter(f"tenant-{number}"))
        serve(line)
    assert len(line._new._tenants) < 5
