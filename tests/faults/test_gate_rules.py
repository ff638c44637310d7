"""Rules of an API in virtual time: several processes, many runs, no scope above its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from orchestrator.engine.api_rules import Per, Rule
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import Visit
from tests.faults.test_gate_fairness import CALL_SECONDS, PATIENCE_SECONDS, Crowd, Story, played

CHARGE, SEARCH = "POST /charges", "GET /search/x"
CHARGES = Rule(name="charges", operation=CHARGE, rates=parse_rates("20/second"))
EACH = Rule(name="each", per=Per.TENANT, rates=parse_rates("10/second"))
FEW = Rule(name="few", per=Per.TENANT, concurrency=2)


def busiest(stories: Iterable[Story], seconds: float) -> int:
    """The most that left within so long."""
    left = sorted(story.left_at for story in stories)
    most = first = 0
    for last, at in enumerate(left):
        while left[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def length(stories: Iterable[Story]) -> float:
    """From the first that left to the last."""
    left = [story.left_at for story in stories]
    return max(left) - min(left)


def of(stories: Iterable[Story], tenant: str = "", operation: str = "") -> list[Story]:
    return [
        story
        for story in stories
        if tenant in ("", story.tenant) and operation in ("", story.operation)
    ]


@pytest.mark.parametrize("processes", [1, 3])
def test_an_operation_has_its_rate_and_the_others_the_rest(processes: int) -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("acme", 600, operation=CHARGE)
        crowd.come("beta", 2400, operation=SEARCH)

    stories = played(play, processes=processes, rules=(CHARGES,))
    charges, searches = of(stories, operation=CHARGE), of(stories, operation=SEARCH)
    assert busiest(charges, 1.0) <= 20
    assert busiest(stories, 1.0) <= 100
    assert length(charges) <= 600 / 20 / 0.9
    assert length(searches) <= 2400 / 80 / 0.9, "nobody waits behind those who have to"


def test_each_tenant_has_its_own_rate() -> None:
    async def play(crowd: Crowd) -> None:
        for tenant, runs in (("a", 300), ("b", 300), ("c", 30)):
            crowd.come(tenant, runs)

    stories = played(play, rules=(EACH,))
    for tenant in "abc":
        assert busiest(of(stories, tenant), 1.0) <= 10
    for tenant in "ab":
        assert length(of(stories, tenant)) <= 300 / 10 / 0.9
    assert length(of(stories, "c")) <= 30 / 10 / 0.9
    assert sum(story.told for story in stories) / len(stories) <= 4


def test_rules_hold_together_where_the_api_has_no_rate_of_its_own() -> None:
    async def play(crowd: Crowd) -> None:
        for tenant in "abcd":
            crowd.come(tenant, 100, operation=CHARGE)

    stories = played(play, rules=(CHARGES, EACH), rates=())
    assert busiest(stories, 1.0) <= 20
    for tenant in "abcd":
        assert busiest(of(stories, tenant), 1.0) <= 10
    assert length(stories) <= 400 / 20 / 0.9


def test_each_tenant_has_its_own_slots() -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("large", 400)
        crowd.come("small", 40)

    stories = played(play, rules=(FEW,), rates=())
    for tenant in ("large", "small"):
        assert busiest(of(stories, tenant), CALL_SECONDS * 0.999) <= 2
    assert length(of(stories, "large")) <= 400 / 2 * CALL_SECONDS / 0.8
    assert length(of(stories, "small")) <= 40 / 2 * CALL_SECONDS / 0.8


def test_compensations_go_first_within_the_rate_of_their_operation() -> None:
    async def play(crowd: Crowd) -> None:
        crowd.come("acme", 300, operation=CHARGE)
        await asyncio.sleep(5.0)
        crowd.come("undoing", 20, operation=CHARGE, undo=True)

    stories = played(play, rules=(CHARGES,))
    assert busiest(stories, 1.0) <= 20
    # What is left of one window, and the next: 20 come at once where 20 had just gone.
    assert max(story.waited for story in of(stories, "undoing")) <= 2 * 1.04 + 0.4


def test_no_more_wait_in_a_process_than_a_rule_says() -> None:
    waiting: list[int] = []

    async def play(crowd: Crowd) -> None:
        crowd.come("acme", 200)
        crowd.come("beta", 10)
        for _ in range(20):
            await asyncio.sleep(0.1)
            waiting.append(max(gate.snapshot()["api"].waiting for gate in crowd.gates))

    few = Rule(name="few", per=Per.TENANT, concurrency=1, waiting=7)
    stories = played(play, rules=(few,), rates=())
    assert max(waiting) <= 7 + 5, "seven of acme and what beta has in this process"
    assert max(story.waited for story in of(stories, "beta")) <= 10 * CALL_SECONDS / 0.5 + 1.5


def test_rules_change_while_runs_wait() -> None:
    """A new rule counts from the start what it can see, and one that goes leaves nobody behind."""
    times: list[float] = []

    async def play(crowd: Crowd) -> None:
        crowd.come("acme", 1600, operation=CHARGE)
        for rules in ((CHARGES,), (EACH,), (CHARGES, EACH, FEW), ()):
            await asyncio.sleep(8.0)
            crowd.turn_to(rules=rules)
            times.append(crowd.loop.time())

    stories = played(play)
    charges, each, all_of_them, none = times
    assert busiest(between(stories, charges, each), 1.0) <= 20
    assert busiest(between(stories, each, all_of_them), 1.0) <= 10
    assert busiest(between(stories, all_of_them, none), 1.0) <= 10
    assert len(between(stories, charges, none)) >= 0.7 * 8 * (20 + 10 + 10)
    assert busiest(between(stories, none + 0.5, none + 60.0), 1.0) >= 80


def test_what_never_left_does_not_use_up_a_rule() -> None:
    """A process that is held up between the gate and the socket: nothing was sent."""
    tenths = Rule(name="tenths", per=Per.TENANT, rates=parse_rates("10/hour"))

    async def play(crowd: Crowd) -> None:
        for number in range(30):
            visit = Visit(api="api", run_id=str(number), tenant="a")
            permit = await crowd.gates[0].enter(visit, patience_seconds=PATIENCE_SECONDS)
            await asyncio.sleep(1.0)
            permit.hand_back()
        crowd.come("a", 10)

    stories = played(play, processes=1, rules=(tenths,))
    assert max(story.waited for story in stories) <= 1.0


def between(stories: Iterable[Story], first: float, last: float) -> list[Story]:
    """Who leaves at the moment of a change may leave under what has changed."""
    return [story for story in stories if first <= story.left_at < last]
