"""Waking runs again: one that cannot be read keeps no other from it."""

from __future__ import annotations

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.states import RunStatus
from orchestrator.definitions.programs import Programs
from orchestrator.service.redelivery import Redeliverer
from tests.integration.engine.checking import check
from tests.integration.engine.house import House
from tests.integration.engine.world import Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)


@pytest.mark.parametrize("plan", [None, Plan(workflow="bad", steps=())], ids=["unread", "other"])
async def test_an_unreadable_plan_keeps_nobody_else_from_being_woken(
    house: House, plan: Plan | None
) -> None:
    good = await house.submit(shop_plan([KEYED] * 2, name="good"), "o-good")
    bad = await house.submit(shop_plan([KEYED] * 2, name="bad"), "o-bad")
    house.broker.hints.clear()  # both are lost
    unreadable = (await house.store.run(bad)).workflow_id

    async def load(workflow_id: str) -> Plan:
        if workflow_id == unreadable:
            if plan is None:
                raise ValueError("plan format 99")
            return plan  # without the step at which the run stands
        return (await house.store.workflow_by_id(workflow_id)).plan

    lost = await house.store.take_lost(silent_seconds=-1, limit=10)
    assert await Redeliverer(house.broker, Programs(load)).publish(lost) == 2
    assert {hint.run_id: hint.label for hint in house.broker.hints} == {
        good: "good.s1", bad: unreadable,
    }  # fmt: skip
    for run_id, order in ((good, "o-good"), (bad, "o-bad")):
        assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
        await check(house, run_id, order)
