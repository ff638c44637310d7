"""Without any harm: what a run writes, sends and ends as."""

from __future__ import annotations

import pytest

from orchestrator.core.states import RunStatus
from tests.integration.engine.checking import check, landed, outcome
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, shop_plan

KINDS = [Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED]


@pytest.mark.parametrize("kind", KINDS)
async def test_it_succeeds(house: House, kind: Kind) -> None:
    run_id = await house.submit(shop_plan([(kind, kind)] * 3))
    run = await house.settle(run_id, recoveries=False)
    assert run.status is RunStatus.SUCCEEDED
    assert run.outputs == {"last": "s3"}
    assert house.shop.applied["o-1"] == ["s1", "s2", "s3"]
    assert len(house.shop.sent) == 3
    await check(house, run_id)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_undone_in_reverse(house: House, kind: Kind) -> None:
    run_id = await house.submit(shop_plan([(kind, kind)] * 4))
    house.shop.will("o-1", "s4", Fate.REFUSED)
    run = await house.settle(run_id, recoveries=False)
    assert run.status is RunStatus.COMPENSATED
    assert house.shop.applied["o-1"] == ["s1", "s2", "s3", "s3.undo", "s2.undo", "s1.undo"]
    steps = await house.store.steps(run_id)
    assert landed(steps) == ["s1", "s2", "s3"]
    assert outcome(steps[3]) == ("failed", "pending")
    await check(house, run_id)
