"""Runs that a step of another run begins: one for each wait, undone with it, whoever dies when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import OnCancel, Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import RunRecord
from tests.integration.engine.family import (
    ORDER,
    begins,
    check_family,
    deaths,
    family,
    leaf,
    publish,
    relatives,
    settled,
)
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate


async def begun(house: House, plan: Plan, *others: Plan) -> str:
    await publish(house, *others)
    return await house.submit(plan)


async def one_hint(house: House) -> None:
    """The parent has begun its child, which nobody has taken up yet."""
    await (await house.worker()).drive(house.broker.hints.popleft())


async def child_of(house: House, run_id: str) -> RunRecord:
    """The latest."""
    return (await relatives(house, run_id))[-1]


async def ended(house: House, run_id: str, status: RunStatus) -> RunRecord:
    run = await settled(house, run_id)
    assert run.status is status, run.cause
    await check_family(house, run_id)
    return run


async def test_a_step_gives_what_its_run_gave(house: House) -> None:
    child = leaf()
    plan = family("s1", begins(child), "s3", name="order")
    outputs = {"paid": "$steps.pay.outputs.id", "by": "$steps.pay.outputs.run"}
    plan = with_digest(replace(plan, outputs=outputs))
    run_id = await begun(house, plan, child)
    run = await ended(house, run_id, RunStatus.SUCCEEDED)
    paid = await child_of(house, run_id)
    assert run.outputs == {"paid": "c2", "by": paid.id}
    assert (paid.parent_id, paid.depth, paid.rerun_of, paid.workflow_id) == (
        run_id, 1, None, paid.workflow_id,
    )  # fmt: skip
    assert house.shop.applied[ORDER] == ["s1", "c1", "c2", "s3"]


async def test_where_a_child_fails_the_step_has_failed_with_its_reason(house: House) -> None:
    child = leaf()
    house.shop.will(ORDER, "c2", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child), "s3"), child)
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert run.cause.startswith("424 Failed Dependency: run ")
    assert "of payment ended compensated: 422 " in run.cause
    assert house.shop.applied[ORDER] == ["s1", "c1", "c1.undo", "s1.undo"]


async def test_what_a_child_did_is_undone_in_its_place(house: House) -> None:
    child = leaf()
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child), "s2", "s3"), child)
    await ended(house, run_id, RunStatus.COMPENSATED)
    assert house.shop.applied[ORDER] == [
        "s1", "c1", "c2", "s2", "s2.undo", "c2.undo", "c1.undo", "s1.undo",
    ]  # fmt: skip
    _, paid, undo = await relatives(house, run_id)
    assert (paid.status, undo.status, undo.rerun_of) == (
        RunStatus.SUCCEEDED, RunStatus.COMPENSATED, paid.id,
    )  # fmt: skip


async def test_children_of_children_are_undone_with_them(house: House) -> None:
    bank = leaf("bank", "b1", "b2")
    payment = family("c1", begins(bank, "ask"), "c2", name="payment")
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(payment), "s3"), bank, payment)
    await ended(house, run_id, RunStatus.COMPENSATED)
    assert house.shop.applied[ORDER][5:] == ["c2.undo", "b2.undo", "b1.undo", "c1.undo", "s1.undo"]
    depths = [(run.workflow, run.depth) for run in await relatives(house, run_id)]
    assert depths == [("order", 0), ("payment", 1), ("bank", 2), ("payment", 1), ("bank", 2)]


async def test_a_run_too_far_down_does_not_begin(house: House) -> None:
    plans = [leaf("w4", "d4")]
    for number in (3, 2, 1):
        plans.append(family(f"d{number}", begins(plans[-1], "next"), name=f"w{number}"))
    run_id = await begun(house, family("s1", begins(plans[-1])), *plans)
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert "a child would be too far down" in run.cause
    assert house.shop.applied[ORDER][:4] == ["s1", "d1", "d2", "d3"]


async def test_what_was_not_published_does_not_begin(house: House) -> None:
    child = leaf()
    run_id = await begun(house, family("s1", begins(replace(child, digest="0" * 64))), child)
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert "no version with the digest 000000000000" in run.cause


async def test_a_child_that_needs_a_person_is_waited_for(house: House) -> None:
    child = leaf()
    house.shop.will(ORDER, "c2", Fate.REFUSED)
    house.shop.will(ORDER, "c1.undo", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child)), child)
    run = await settled(house, run_id)
    paid = await child_of(house, run_id)
    assert (run.status, paid.status) == (RunStatus.WAITING, RunStatus.ESCALATED)
    await house.escalations.abandon(await escalation_of(house, paid.id), by="ada", reason="ok")
    run = await settled(house, run_id)
    assert run.status is RunStatus.COMPENSATED
    assert "of payment ended abandoned" in run.cause
    assert house.shop.applied[ORDER] == ["s1", "c1", "s1.undo"]


async def escalation_of(house: House, run_id: str) -> str:
    found = await house.store.escalations_of(run_id)
    return next(each.id for each in found if each.closed_at is None)


async def test_an_undo_that_stops_is_a_persons_and_may_be_made_again(house: House) -> None:
    child = leaf()
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    house.shop.will(ORDER, "c1.undo", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child), "s3"), child)
    run, undo = await settled(house, run_id), await child_of(house, run_id)
    assert (run.status, undo.status) == (RunStatus.WAITING, RunStatus.ESCALATED)
    assert house.shop.applied[ORDER][-1] == "c2.undo"  # and nothing before it
    await house.escalations.abandon(await escalation_of(house, undo.id), by="ada", reason="no")
    run = await settled(house, run_id)
    assert run.status is RunStatus.ESCALATED
    found = (await house.store.escalations_of(run_id))[0]
    assert (found.step_id, found.reason) == ("pay", "compensation_failed")
    await house.escalations.skip(found.id, by="ada", reason="it may stay")
    assert (await settled(house, run_id)).status is RunStatus.COMPENSATED
    assert house.shop.applied[ORDER][-1] == "s1.undo"


async def test_an_undo_is_asked_for_anew_when_a_person_wants_it(house: House) -> None:
    child = leaf("payment", "c1")
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    house.shop.will(ORDER, "c1.undo", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child), "s3"), child)
    await settled(house, run_id)
    undo = await child_of(house, run_id)
    await house.escalations.abandon(await escalation_of(house, undo.id), by="ada", reason="no")
    await settled(house, run_id)
    house.shop.will(ORDER, "c1.undo", Fate.WELL)
    await house.escalations.retry(await escalation_of(house, run_id), by="ada", reason="again")
    await ended(house, run_id, RunStatus.COMPENSATED)
    statuses = [run.status for run in await relatives(house, run_id)]
    assert statuses[1:] == [
        RunStatus.SUCCEEDED, RunStatus.ABANDONED, RunStatus.COMPENSATED,
    ]  # fmt: skip


async def test_a_retry_begins_another_run(house: House) -> None:
    child = leaf("payment", "c1")
    house.shop.will(ORDER, "c1", Fate.REFUSED)
    plan = family("s1", begins(child, on_failure=[{"retryLimit": 2, "retryAfter": 0}]))
    run_id = await begun(house, plan, child)
    await ended(house, run_id, RunStatus.SUCCEEDED)
    statuses = [run.status for run in await relatives(house, run_id)]
    assert statuses == [RunStatus.SUCCEEDED, RunStatus.COMPENSATED, RunStatus.SUCCEEDED]


async def test_a_detached_run_goes_on_by_itself(house: House) -> None:
    child = leaf()
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await begun(house, family("s1", begins(child, on_cancel=None), "s3"), child)
    run, beside = await settled(house, run_id), await child_of(house, run_id)
    assert (run.status, beside.status) == (RunStatus.COMPENSATED, RunStatus.SUCCEEDED)
    assert (beside.parent_id, beside.wait_id) == (run_id, None)
    assert [name for name in house.shop.applied[ORDER] if name.endswith(".undo")] == ["s1.undo"]


@pytest.mark.parametrize("policy", list(OnCancel))
async def test_a_cancel_goes_as_the_step_says(house: House, policy: OnCancel) -> None:
    child = leaf()
    run_id = await begun(house, family("s1", begins(child, on_cancel=policy), "s3"), child)
    await one_hint(house)
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    redelivery = await house.store.request_cancel(
        run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
    )
    assert redelivery is not None
    await house.redeliverer.publish([redelivery])
    house.broker.hints.rotate(1)  # it comes before the child's own wake-up
    run = await settled(house, run_id)
    assert run.status is RunStatus.COMPENSATED
    assert run.cause.endswith("changed my mind")
    applied = house.shop.applied[ORDER]
    match policy:
        case OnCancel.CANCEL:
            assert applied == ["s1", "s1.undo"]
        case OnCancel.WAIT:
            assert applied == ["s1", "c1", "c2", "c2.undo", "c1.undo", "s1.undo"]
        case OnCancel.LEAVE:
            assert sorted(applied) == ["c1", "c2", "s1", "s1.undo"]
    if policy is not OnCancel.LEAVE:
        await check_family(house, run_id)


async def test_a_parent_past_its_deadline_waits_for_its_child(house: House) -> None:
    child = leaf()
    run_id = await begun(house, family("s1", begins(child)), child)
    await one_hint(house)
    await house.execute("UPDATE runs SET deadline_at = created_at")
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert "has passed" in run.cause
    assert house.shop.applied[ORDER] == ["s1", "s1.undo"]


# --- whoever dies when ----------------------------------------------------------------------------

FAILS = {"well": None, "child": "c2", "after": "s3"}
_ALL = [pytest.param(name, 1, marks=pytest.mark.long) for name in FAILS]


@pytest.mark.parametrize(("fails", "stride"), [("after", 9), *_ALL])
async def test_a_death_at_any_point_leaves_no_orphan_and_nothing_twice(
    database: str, fails: str, stride: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At each point that a whole family comes to, in turn, until there is no further."""
    name = FAILS[fails]

    async def begin(house: House) -> str:
        if name is not None:
            house.shop.will(ORDER, name, Fate.REFUSED)
        child = leaf()
        return await begun(house, family("s1", begins(child), "s3"), child)

    empty, folder = Path(database.removeprefix("sqlite:///")), tmp_path_factory.mktemp
    async for house, run in deaths(empty, lambda: folder("death"), stride, begin):
        assert run.status in FINAL
        assert (run.status is RunStatus.SUCCEEDED) == (name is None)
        await check_family(house, run.id)
