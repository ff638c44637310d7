"""Parts of the ledger that need no loop: what chance decides, what is counted, what is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.program import Program
from tests.faults.ledger.book import Asked, asked
from tests.faults.ledger.faults import LONGEST_DELAY_SECONDS, WELL, Fate, Fault, FaultPlan
from tests.faults.ledger.limits import Limit, Limits
from tests.faults.ledger.weather import Tokens, Weather
from tests.faults.workload import SHAPES, Kind, Shape

RUNS = 300


def link(run: int, route: str = "keyed", *, question: bool = False) -> Asked:
    """The first step of a run."""
    return Asked(route=route, run=f"k1-{run:06d}", step="s1", direction="do", question=question)


def fates(plan: FaultPlan, one: Asked, count: int = 6) -> list[Fate]:
    """Of a link's first requests."""
    return [plan.next(one) for _ in range(count)]


# --- faults by chance -----------------------------------------------------------------------------


def test_chance_decides_the_same_whatever_the_order() -> None:
    forth, back = FaultPlan(seed=7, rate=0.5), FaultPlan(seed=7, rate=0.5)
    one = {run: fates(forth, link(run)) for run in range(RUNS)}
    two = {run: fates(back, link(run)) for run in reversed(range(RUNS))}
    other = FaultPlan(seed=8, rate=0.5)
    assert one == two
    assert one != {run: fates(other, link(run)) for run in range(RUNS)}


def test_patience_wins() -> None:
    plan = FaultPlan(seed=1, rate=1.0)
    for run in range(RUNS):
        drawn = fates(plan, link(run))
        assert [fate is WELL for fate in drawn] == [False] * 3 + [True] * 3


def test_every_fault_is_drawn_but_those_that_nobody_could_handle() -> None:
    def drawn(route: str, *, question: bool = False) -> list[Fate]:
        plan = FaultPlan(seed=1, rate=1.0)
        links = (link(run, route, question=question) for run in range(RUNS))
        return [fate for one in links for fate in fates(plan, one, 3)]

    keyed, plain, asking = drawn("keyed"), drawn("plain"), drawn("plain", question=True)
    usual = set(Fault) - {Fault.NONE, Fault.REFUSE}
    assert {fate.fault for fate in keyed} == usual
    assert {fate.fault for fate in plain} == {fate.fault for fate in asking} == usual - {Fault.LATE}
    delays = [fate.seconds for fate in plain if fate.fault is Fault.DELAY]
    assert 0.0 < max(delays) <= LONGEST_DELAY_SECONDS
    assert {fate.status for fate in keyed + plain + asking} == {0, 429, 500, 502, 503, 504}


def test_a_rate_is_the_share_of_bad_treatment_and_ends_with_healing() -> None:
    plan = FaultPlan(seed=1, rate=0.2)
    drawn = [fate for run in range(2 * RUNS) for fate in fates(plan, link(run), 3)]
    assert 0.15 < sum(fate is not WELL for fate in drawn) / len(drawn) < 0.25
    plan.rate = 1.0
    plan.will("k1-000000", "s1", "do", Fault.BUSY)
    plan.heal()
    assert all(fate is WELL for run in range(3 * RUNS) for fate in fates(plan, link(run), 3))


def test_a_table_speaks_of_the_next_requests_of_its_link_only() -> None:
    plan = FaultPlan()
    assert plan.next(link(1)) is WELL
    plan.will("k1-000001", "s1", "do", Fault.BUSY, WELL, Fate(fault=Fault.HANG))
    plan.will("k1-000001", "s1", "do", Fault.HALF)
    found = [fate.fault for fate in fates(plan, link(1), 5)]
    assert found == [Fault.BUSY, Fault.NONE, Fault.HANG, Fault.HALF, Fault.NONE]
    assert plan.next(link(2)) is WELL
    assert plan.next(link(1, question=True)) is WELL


# --- limits ---------------------------------------------------------------------------------------


def broken(limits: Limits, route: str, now: float) -> list[tuple[str, int]]:
    """What one request breaks."""
    return [(str(limit), found) for limit, found in limits.arrived(route, now)]


def test_a_window_is_half_open_and_exact() -> None:
    limits = Limits([Limit(amount=2, seconds=1.0)])
    assert [broken(limits, "keyed", now) for now in (10.0, 10.5)] == [[], []]
    assert broken(limits, "read", 10.999) == [("2/1s", 3)]
    assert broken(limits, "keyed", 11.5) == []  # 10.5 is a whole second ago


def test_limits_count_their_own_routes() -> None:
    limits = Limits([Limit(amount=1, routes=("plain",)), Limit(amount=2)])
    assert broken(limits, "plain", 1.0) == []
    assert broken(limits, "keyed", 1.0) == []
    assert broken(limits, "plain", 1.0) == [("1 at once", 2), ("2 at once", 3)]
    limits.left("keyed")
    limits.left("plain")
    assert broken(limits, "keyed", 2.0) == []
    limits.replace([Limit(amount=1)])
    assert broken(limits, "keyed", 2.0) == [("1 at once", 3)]


# --- what workers ask -----------------------------------------------------------------------------


def requests(shape: Shape) -> Iterator[tuple[Kind, FrozenRequest, FrozenRequest | None]]:
    """Each link of a workflow with its request and its question."""
    program = Program(shape.plan)
    outputs = {step.id: {"id": f"run/{step.id}"} for step in shape.plan.steps}
    facts = Facts(run_id="r", inputs={"run": "k1-000001-f1"}, outputs=outputs)
    for index, kinds in enumerate(shape.steps):
        for direction, kind in zip(Direction, kinds, strict=True):
            if kind is None:
                continue
            made = program.prepare(index, direction, facts)
            assert isinstance(made, FrozenRequest)
            verify = kind is Kind.VERIFIED
            asking = program.prepare_verify(index, direction, facts) if verify else None
            yield kind, made, asking


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_ledger_understands_every_request_of_the_workload(shape: Shape) -> None:
    for kind, request, question in requests(shape):
        wanted = asked(request.method, request.target)
        assert (wanted.route, wanted.run) == (kind.route, "k1-000001-f1")
        assert wanted.changes == (kind is not Kind.READ)
        if question is not None:
            about = asked(question.method, question.target)
            assert (about.question, about.changes) == (True, False)
            assert (about.step, about.direction) == (wanted.step, wanted.direction)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/keyed/r/s1"),
        ("POST", "/plain/r/s1/do"),
        ("GET", "/plain/r/s1/redo"),
        ("PUT", "/keyed/r/s1"),
        ("POST", "/read/r/s1"),
        ("POST", "/keyed//s1"),
        ("GET", "/"),
        ("GET", "nonsense"),
    ],
)
def test_other_routes_are_none(method: str, target: str) -> None:
    assert asked(method, target).route == ""


# --- what befalls everybody -----------------------------------------------------------------------


def test_the_weather_comes_and_goes() -> None:
    weather = Weather()
    assert weather.fate(1.0) is None
    weather.set({"away": True})
    assert [fate.fault for fate in (weather.fate(1.0),) if fate] == [Fault.DROP_BEFORE]
    weather.set({"retry_after": "7"})
    assert weather.fate(1.0) == Fate(fault=Fault.BUSY, status=429, retry_after="7")
    weather.set({})
    assert weather.fate(1.0) is None


def test_a_limit_that_nobody_was_told_of_refuses_what_is_more() -> None:
    weather = Weather()
    weather.set({"most_per_second": 2})
    times = (0.0, 0.5, 0.9, 1.0, 1.4, 1.5)
    refused = [weather.fate(at) is not None for at in times]
    assert refused == [False, False, True, False, True, False]


def test_tokens_end_when_somebody_says_so() -> None:
    tokens = Tokens("secret")
    first = f"Bearer {tokens.issue()['access_token']}"
    assert tokens.accepts(first)
    tokens.end()
    second = f"Bearer {tokens.issue()['access_token']}"
    assert [tokens.accepts(each) for each in (first, second)] == [False, True]
    assert [tokens.knows(each) for each in (first, second)] == [True, True]
    for strange in (None, "", "Bearer secret", "Bearer secret-3", "Bearer secret-x", "secret-1"):
        assert not tokens.knows(strange)
        assert not tokens.accepts(strange)
