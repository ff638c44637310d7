"""Parallel blocks: branches are runs, what they did is undone in one chain, whoever dies when."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.definitions.blocks import Fail
from tests.integration.engine.blocks import check_block, forking
from tests.integration.engine.family import ORDER, deaths, relatives, settled
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


async def test_blocks_within_branches_are_one_unit(house: House) -> None:
    inner = ("in", {"x": ["x1"], "y": ["y1"]})
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await house.submit(forking("s1", ("fan", {"a": ["a1", inner], "b": ["b1"]}), "s3"))
    applied = await ended(house, run_id, RunStatus.COMPENSATED)
    undone = [name.removesuffix(".undo") for name in applied if name.endswith(".undo")]
    assert abs(undone.index("x1") - undone.index("y1")) == 1
    depths = [(run.branch, run.depth) for run in await relatives(house, run_id) if run.depth == 2]
    assert [name for name, _ in depths] == ["in/x", "in/y", "in"]


async def test_a_branch_that_needs_a_person_holds_the_block(house: House) -> None:
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    house.shop.will(ORDER, "b1.undo", Fate.REFUSED)
    run_id = await house.submit(forking("s1", FAN, "s3"))
    run, *_, undo = await relatives(house, (await settled(house, run_id)).id)
    assert (run.status, undo.status, undo.branch) == (
        RunStatus.WAITING, RunStatus.ESCALATED, "fan",
    )  # fmt: skip
    stopped_at = house.shop.applied[ORDER][-1]
    assert "s1.undo" not in house.shop.applied[ORDER]
    house.shop.applied[ORDER].append("b1.undo")
    (escalation,) = await house.store.escalations_of(undo.id)
    await house.escalations.resolve(escalation.id, by="ada", reason="done by hand")
    applied = await ended(house, run_id, RunStatus.COMPENSATED)
    assert applied[applied.index(stopped_at) + 1] == "b1.undo"


@pytest.mark.parametrize("mode", list(CancelMode))
async def test_a_cancel_reaches_the_branches(house: House, mode: CancelMode) -> None:
    run_id = await house.submit(forking("s1", FAN, "s3"))
    for _ in range(2):  # the run to its block, and a branch to its end
        await (await house.worker()).drive(house.broker.hints.popleft())
    redelivery = await house.store.request_cancel(run_id, mode=mode, reason="no", by="ada")
    assert redelivery is not None
    house.broker.hints.clear()
    await house.redeliverer.publish([redelivery])
    run = await settled(house, run_id)
    applied = house.shop.applied[ORDER]
    if mode is CancelMode.UNDO:
        assert run.status is RunStatus.COMPENSATED
        assert applied == ["s1", "a1", "a2", "a2.undo", "a1.undo", "s1.undo"]
        await check_block(house, run_id)
    else:
        assert run.status is RunStatus.ABANDONED
        assert applied == ["s1", "a1", "a2"]


async def test_a_run_past_its_deadline_stops_its_branches(house: House) -> None:
    run_id = await house.submit(forking("s1", FAN, "s3"))
    await (await house.worker()).drive(house.broker.hints.popleft())
    await house.execute("UPDATE runs SET deadline_at = created_at")
    assert await ended(house, run_id, RunStatus.COMPENSATED) == ["s1", "s1.undo"]


async def test_a_block_too_wide_does_not_begin(house: House) -> None:
    run_id = await house.submit(forking("s1", ("fan", {name: [name] for name in "abcd"})))
    run = await settled(house, run_id)
    assert run.status is RunStatus.COMPENSATED
    assert "a block has too many branches" in run.cause
    assert house.shop.applied[ORDER] == ["s1", "s1.undo"]


# --- whoever dies when ----------------------------------------------------------------------------

FAILS = {"well": None, "branch": "a2", "after": "s3"}
_ALL = [pytest.param(name, 1, marks=pytest.mark.long) for name in FAILS]


@pytest.mark.parametrize(("fails", "stride"), [("after", 25), *_ALL])
async def test_a_death_at_any_point_leaves_the_order_as_it_is(
    database: str, fails: str, stride: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At each point that a run and its branches come to, in turn, until there is no further."""
    name = FAILS[fails]

    async def begin(house: House) -> str:
        if name is not None:
            house.shop.will(ORDER, name, Fate.REFUSED)
        return await house.submit(forking("s1", FAN, "s3"))

    empty, folder = Path(database.removeprefix("sqlite:///")), tmp_path_factory.mktemp
    async for house, run in deaths(empty, lambda: folder("death"), stride, begin):
        assert (run.status is RunStatus.SUCCEEDED) == (name is None), run.cause
        await check_block(house, run.id)
