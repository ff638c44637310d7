"""A run that a person has to approve first: nothing of it leaves before, and none without them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.guarding import MILLION, Asking, Charge, Policy, Threshold
from orchestrator.core.states import RunStatus
from orchestrator.errors import NotAllowed
from orchestrator.ports import Agent, Decision, NewPolicyChange, NewRun, PolicyChangeKind, Role
from orchestrator.service.recovery import Recovery, RecoveryTimes
from orchestrator.store import open_worker_locks
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, new_id
from tests.integration.engine.test_waits import desk
from tests.integration.engine.world import Kind, shop_plan

BOT = Agent("acme", "bot")
KINDS = [(Kind.KEYED, Kind.KEYED), (Kind.UNKEYED, Kind.KEYED)]


async def held(house: House, first: Any, **asking: Any) -> str:
    """A run of two steps that is held; its hint is there all the same."""
    rules = Asking(above=(Threshold(of="EUR", most=0),), **asking)
    await house.store.change_policy(
        NewPolicyChange(
            agent=BOT, expected_version=0, kind=PolicyChangeKind.SET, by="ada", reason="why",
            policy=Policy(asking=rules),
        )
    )  # fmt: skip
    version, _ = await house.store.publish(shop_plan([first] * 2), document="", by="test")
    run = NewRun(
        id=new_id(), workflow_id=version.id, workflow=version.workflow, version=version.version,
        inputs={"order": "o-1"}, inputs_digest="d", idempotency_key="k", tenant="acme", actor="bot",
    )  # fmt: skip
    charge = Charge(run_id=run.id, workflow=run.workflow, amount=MILLION, currency="EUR")
    (answer,) = await house.store.accept_guarded([run], [charge], {run.id: [BOT]})
    assert answer.is_held
    await house.sweep()
    await house.work()
    assert (house.claims, house.shop.sent) == (0, [])
    return run.id


async def ends(house: House, run_id: str, status: RunStatus) -> None:
    run = await house.settle(run_id)
    assert run.status is status
    await check(house, run_id)
    assert bool(house.shop.sent) is (status is RunStatus.SUCCEEDED)


@pytest.mark.parametrize("first", KINDS)
async def test_approved_it_runs(house: House, first: Any) -> None:
    run_id = await held(house, first)
    await desk(house).decide(run_id, Decision.APPROVED, by="ada", via="cli")
    await ends(house, run_id, RunStatus.SUCCEEDED)


@pytest.mark.parametrize("first", KINDS)
async def test_rejected_nothing_of_it_leaves(house: House, first: Any) -> None:
    run_id = await held(house, first)
    await desk(house).decide(run_id, Decision.REJECTED, by="ada", via="cli", reason="too dear")
    await ends(house, run_id, RunStatus.COMPENSATED)
    assert (await house.store.run(run_id)).cause == "not approved by ada: too dear"


async def test_nobody_in_time_nothing_of_it_leaves(house: House) -> None:
    run_id = await held(house, KINDS[0], seconds=0)
    await house.redeliverer.publish(await house.store.expire_holds())
    await ends(house, run_id, RunStatus.COMPENSATED)


async def test_cancelled_nothing_of_it_leaves(house: House) -> None:
    run_id = await held(house, KINDS[0])
    found = await house.store.request_cancel(run_id, mode=CancelMode.STOP, reason="no", by="bot")
    assert found is not None
    await house.redeliverer.publish([found])
    await ends(house, run_id, RunStatus.ABANDONED)


async def test_who_wants_it_does_not_approve_it(house: House) -> None:
    run_id = await held(house, KINDS[0])
    with pytest.raises(NotAllowed, match="somebody else"):
        await desk(house).decide(run_id, Decision.APPROVED, by="bot", via="rest", role=Role.ADMIN)
    with pytest.raises(NotAllowed):
        await desk(house).decide_for_requester(run_id, Decision.APPROVED, by="bot", reason="")


async def test_whom_it_works_for_may_where_the_policy_says_so(house: House) -> None:
    run_id = await held(house, KINDS[0], requester=True)
    await desk(house).decide_for_requester(run_id, Decision.APPROVED, by="bot", reason="")
    await ends(house, run_id, RunStatus.SUCCEEDED)


async def test_workers_end_what_nobody_approved_in_time(house: House) -> None:
    run_id = await held(house, KINDS[0], seconds=0)
    times = RecoveryTimes(pass_every=1, dead_after=60, lost_after=60)
    recovery = Recovery(
        house.store, open_worker_locks(house.url), house.broker, house.redeliverer, house.broker,
        times, guards=house.store,
    )  # fmt: skip
    await recovery.slow_pass(await house.store.survey(times.of_surveys))
    run = await house.settle(run_id, recoveries=False)
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, "nobody approved it in time")
