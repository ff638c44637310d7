"""Insights from what the real engine recorded."""

from __future__ import annotations

import pytest

from orchestrator.core.insights import ApiLimits, Insight, InsightKind, insights_of
from orchestrator.ports.history import History
from tests.integration.engine.house import House, new_id
from tests.integration.engine.world import Fate, Kind, shop_plan

PLAN = shop_plan([(Kind.KEYED, Kind.KEYED), (Kind.UNKEYED, Kind.KEYED)])
LIMITS = {"shop": ApiLimits(total_seconds=10.0, rate="")}


async def live(house: House, runs: int, **fates: Fate) -> None:
    for _ in range(runs):
        house.retire()
        order = new_id()
        for name, fate in fates.items():
            house.shop.will(order, name.replace("_", "."), fate)
        await house.settle(await house.submit(PLAN, order))


async def history(house: House, *, days: float = 30.0, most: int = 100) -> History:
    version = await house.store.workflow(PLAN.workflow)
    return await house.store.history(version, days=days, most_runs=most)


def found_in(history: History) -> list[Insight]:
    return insights_of(PLAN, history.tried, LIMITS)


async def test_planted_defects_are_found(house: House) -> None:
    await _found(house)


@pytest.mark.postgres
async def test_planted_defects_are_found_on_a_server(postgres_house: House) -> None:
    await _found(postgres_house)


async def _found(house: House) -> None:
    await live(house, 10)
    clean = await history(house)
    assert (clean.runs, len(clean.tried)) == (10, 20)
    assert found_in(clean) == []
    await live(house, 5, s1=Fate.REFUSED)
    await live(house, 3, s2=Fate.UNSEEN)
    await live(house, 3, s2=Fate.REFUSED, s1_undo=Fate.REFUSED)
    found = {(each.kind, each.about): each for each in found_in(await history(house))}
    assert found.keys() == {
        (InsightKind.STEP_FAILS, "s1"), (InsightKind.STEP_FAILS, "s2"),
        (InsightKind.DOUBT_STAYS, "s2"), (InsightKind.UNDO_FAILS, "s1.undo"),
    }  # fmt: skip
    fails = found[InsightKind.STEP_FAILS, "s1"]
    assert (fails.evidence["links"], fails.evidence["failed"]) == (21, 5)
    assert "#" in str(fails.evidence["signature"])
    newest = await history(house, most=3)
    assert {each.run for each in newest.tried} <= {
        each.run for each in (await history(house)).tried
    }
    assert newest.runs == 3
    assert (await history(house, days=1e-9)).tried == []
