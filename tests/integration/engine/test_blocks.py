"""Parallel blocks: branches are runs, what they did is undone in one chain, whoever dies when."""

from __future__ import annotations

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.definitions.blocks import Fail
from tests.integration.engine.blocks import check_block, forking
from tests.integration.engine.family import ORDER, relatives, settled
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate

FAN = ("fan", {"a": ["a1", "a2"], "b": ["b1", "b2"]})


async def ended(house: House, run_id: str, status: RunStatus) -> list[str]:
    """What was applied at the shop, once the run has ended so."""
    run = await settled(house, run_id)
    assert run.status is status, run.cause
    await check_block(house, run_id)
    return house.shop.applied[ORDER]


async def test_branches_come_together(house: House) -> None:
    run_id = await house.submit(forking("s1", FAN, "s3"))
    applied = await ended(house, run_id, RunStatus.SUCCEEDED)
    assert (applied[0], applied[-1]) == ("s1", "s3")
    assert sorted(applied[1:-1]) == ["a1", "a2", "b1", "b2"]
    branches = [(run.branch, run.status) for run in (await relatives(house, run_id))[1:]]
    assert branches == [("fan/a", RunStatus.SUCCEEDED), ("fan/b", RunStatus.SUCCEEDED)]


async def test_a_later_failure_undoes_all_branches_in_one_chain(house: House) -> None:
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await house.submit(forking("s1", FAN, "s3"))
    applied = await ended(house, run_id, RunStatus.COMPENSATED)
    assert len(applied) == 10
    assert [run.branch for run in await relatives(house, run_id)][1:] == ["fan/a", "fan/b", "fan"]


@pytest.mark.parametrize("fail", list(Fail))
async def test_a_branch_that_fails_undoes_nothing_itself(house: House, fail: Fail) -> None:
    house.shop.will(ORDER, "a2", Fate.REFUSED)
    run_id = await house.submit(forking("s1", FAN, "s3", fail=fail))
    applied = await ended(house, run_id, RunStatus.COMPENSATED)
    run, a, b, undo = await relatives(house, run_id)
    assert run.cause.startswith("branch a failed: 422 ")
    assert a.status is RunStatus.ABANDONED
    if fail is Fail.COLLECT:
        assert b.status is RunStatus.SUCCEEDED
        assert applied == ["s1", "a1", "b1", "b2", "b2.undo", "b1.undo", "a1.undo", "s1.undo"]
    else:
        assert b.cause.startswith("branch a failed: 422 ") or b.status is RunStatus.SUCCEEDED
    assert undo.status is RunStatus.COMPENSATED
