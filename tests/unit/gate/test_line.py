"""Who is next before an API: compensations, tenants by weight, priority and age."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.gate_line import AGEING_SECONDS, MOST_NAMED, OTHERS, FairLine, Waiter
from orchestrator.ports import Visit

Line = FairLine[str, str | None]
One = Waiter[str, str | None]


@pytest.fixture
def line() -> Line:
    return FairLine({"gold": 3.0})


def waiter(
    tenant: str = "acme", *, at: float = 0.0, priority: int = 0, undo: bool = False,
    served_before: bool = False, kind: str | None = None,
) -> One:  # fmt: skip
    visit = Visit(api="api", tenant=tenant, priority=priority, undo=undo)
    return Waiter(visit, at, asyncio.get_running_loop().create_future(), served_before, kind)


def join(line: Line, *waiters: One) -> None:
    for each in waiters:
        line.join(each)


def serve(line: Line, most: int = 1_000_000, kinds: Collection[str | None] = (None,)) -> list[One]:
    """Serve as the queue does."""
    served: list[One] = []
    while len(served) < most and (next_one := line.next(kinds)) is not None:
        line.serve(next_one)
        next_one.turn.set_result("served")
        line.leave(next_one)
        served.append(next_one)
    return served


def tenants(served: Iterable[One]) -> list[str]:
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


def _keep_level(served: list[One], line: Line) -> None:
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


# --- kinds ----------------------------------------------------------------------------------------


async def test_a_kind_that_has_to_wait_keeps_no_other_waiting(line: Line) -> None:
    slow = [waiter(at=float(number), kind="slow") for number in range(3)]
    quick, again = waiter(at=9.0, kind="quick"), waiter(kind="slow", served_before=True)
    join(line, *slow, again, quick)
    assert serve(line, kinds=["quick"]) == [quick]
    assert serve(line, kinds=["slow", "quick"]) == [again, *slow]


async def test_of_several_kinds_the_oldest_of_a_tenant_is_next(line: Line) -> None:
    waiters = [waiter(at=float(number), kind="ab"[number % 2]) for number in range(6)]
    join(line, *reversed(waiters))
    assert serve(line, kinds=["a", "b"]) == waiters


async def test_tenants_keep_level_over_all_kinds(line: Line) -> None:
    for number in range(60):
        join(line, waiter("acme", kind="ab"[number % 2]), waiter("gold", kind="a"))
    assert Counter(tenants(serve(line, 60, ["a", "b"]))) == {"acme": 15, "gold": 45}


async def test_who_was_held_back_by_its_own_limits_has_saved_nothing_up(line: Line) -> None:
    join(line, *(waiter("held", kind="held") for _ in range(50)))
    join(line, *(waiter("busy", kind="busy") for _ in range(100)))
    serve(line, 50, ["busy"])
    assert Counter(tenants(serve(line, 20, ["held", "busy"])))["busy"] >= 9


@given(
    waits=st.lists(
        st.tuples(
            st.sampled_from(["acme", "gold", "beta"]), st.integers(0, 2), st.booleans(),
            st.sampled_from("xyz"), st.booleans(),
        ),
        max_size=40,
    ),
    kinds=st.sets(st.sampled_from("xyz"), min_size=1),
    before=st.integers(0, 10),
)  # fmt: skip
def test_those_who_are_upcoming_are_served_so(
    waits: list[tuple[str, int, bool, str, bool]], kinds: set[str], before: int
) -> None:
    async def check() -> None:
        line: Line = FairLine({"gold": 3.0})
        for at, (tenant, priority, undo, kind, again) in enumerate(waits):
            join(line, waiter(
                tenant, at=float(at), priority=priority, undo=undo, kind=kind, served_before=again,
            ))  # fmt: skip
        serve(line, before, kinds)
        foreseen = list(line.upcoming(lambda kind: kind in kinds, 40))
        served = serve(line, kinds=kinds)
        assert {id(each) for each in foreseen} == {id(each) for each in served}
        assert [_turn(each) for each in foreseen] == [_turn(each) for each in served]
        for kind in kinds:
            of_kind = [each for each in served if each.kind == kind and not each.served_before]
            assert _nobody_overtakes(of_kind)

    asyncio.run(check())


def _turn(waiter: One) -> tuple[str, bool]:
    return waiter.visit.tenant, waiter.visit.undo


def _nobody_overtakes(of_kind: list[One]) -> bool:
    """Of one tenant, each lane by itself."""
    ranks: dict[tuple[str, bool], list[float]] = {}
    for each in of_kind:
        rank = each.arrived_at - each.visit.priority * AGEING_SECONDS
        ranks.setdefault(_turn(each), []).append(rank)
    return all(found == sorted(found) for found in ranks.values())


async def test_a_tenant_has_the_part_of_its_weight_that_waits_here(line: Line) -> None:
    join(line, *(waiter("acme") for _ in range(60)), *(waiter("beta") for _ in range(60)))
    line.learn({"acme": 0.25, "beta": 1.0})
    assert Counter(tenants(serve(line, 50))) == {"acme": 10, "beta": 40}


async def test_who_had_a_small_part_is_not_put_off_for_long_once_it_has_a_larger_one(
    line: Line,
) -> None:
    """Each turn of acme's counts a thousand times as much while it has little waiting here."""
    join(line, *(waiter("acme") for _ in range(60)), *(waiter("beta") for _ in range(60)))
    line.learn({"acme": 0.001, "beta": 1.0})
    assert "acme" in tenants(serve(line, 2))
    line.learn({"acme": 1.0, "beta": 1.0})
    assert Counter(tenants(serve(line, 20)))["acme"] >= 9


async def test_nor_if_it_had_nothing_waiting_meanwhile(line: Line) -> None:
    join(line, waiter("acme"), *(waiter("beta") for _ in range(60)))
    line.learn({"acme": 0.001, "beta": 1.0})
    assert "acme" in tenants(serve(line, 2))
    line.learn({"beta": 1.0})
    join(line, *(waiter("acme") for _ in range(60)))
    assert Counter(tenants(serve(line, 20)))["acme"] >= 9


async def test_others_hear_of_the_largest_tenants_by_name(line: Line) -> None:
    for number in range(MOST_NAMED + 3):
        join(line, *(waiter(f"t{number}") for _ in range(number + 1)))
    join(line, waiter("gold", undo=True))
    crowd = line.crowd()
    assert [(each.tenant, each.waiting) for each in crowd[:2]] == [("t34", 35), ("t33", 34)]
    assert crowd[-1] == (OTHERS, 1 + 2 + 3 + 1, 3.0 + 3.0)
    assert len(crowd) == MOST_NAMED + 1
    line.learn({each.tenant: 1.0 for each in crowd[:-1]} | {OTHERS: 0.5})
    assert (line.weight_here("t34"), line.weight_here("t0"), line.weight_here("gold")) == (
        1.0, 0.5, 1.5,
    )  # fmt: skip
