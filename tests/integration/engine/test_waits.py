"""A step that waits: its run sleeps in the table and goes on with the answer, whoever dies when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.crashpoints import Reached
from orchestrator.definitions.waiting import APPROVAL, SIGNAL, wait_call
from orchestrator.errors import Conflict
from orchestrator.ports import Decision, RunRecord, WaitOutcome
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.waiting import Waiting
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, dying_at
from tests.integration.engine.world import Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)


def waiting_plan(
    *, approval: bool = False, on_failure: list[dict[str, Any]] | None = None,
    pivot: int | None = None, **given: Any,
) -> Plan:  # fmt: skip
    """s1, a wait, s3: each but the wait with an undo."""
    plan = shop_plan([KEYED if pivot is None else (Kind.KEYED, None)] * 3, pivot=pivot)
    if approval:
        call = wait_call(APPROVAL, "order.s2", {"message": "pay {$inputs.order}?", **given})
    else:
        call = wait_call(SIGNAL, "order.s2", {"signal": "paid", **given})
    if on_failure is not None:
        call = replace(call, template={**call.template, "onFailure": on_failure})
    steps = (plan.steps[0], PlanStep(id="s2", call=call), plan.steps[2])
    outputs = {"n": "$steps.s2.outputs.n"}
    return with_digest(
        replace(plan, steps=steps, outputs=outputs, waits=True, jumps=on_failure is not None)
    )


def desk(house: House) -> Waiting:
    four_eyes = FourEyes(None, house.programs, new_id=str)
    return Waiting(house.store, house.redeliverer, max_data_bytes=1000, four_eyes=four_eyes)


async def send(house: House, run_id: str, key: str = "k", **changes: Any) -> Any:
    given = {"data": {"n": 7}, "by": "bank", "via": "rest", **changes}
    return await desk(house).send_signal(run_id, "paid", key=key, **given)


async def waits(house: House, plan: Plan) -> str:
    """A run that has come to its wait."""
    run_id = await house.submit(plan)
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.owner) == (RunStatus.WAITING, None)
    assert house.shop.requests("o-1", "s3") == 0
    return run_id


async def the_approval(house: House) -> str:
    (found,) = await desk(house).approvals()
    return found.id


async def ended(house: House, run_id: str, status: RunStatus) -> RunRecord:
    run = await house.settle(run_id)
    assert run.status is status
    await check(house, run_id)
    return run


# --- signals --------------------------------------------------------------------------------------


async def test_a_signal_lets_the_run_go_on_with_what_it_says(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    receipt = await send(house, run_id)
    assert receipt.signal.wait_id is not None
    await house.work()
    run = await ended(house, run_id, RunStatus.SUCCEEDED)
    assert run.outputs == {"n": 7}
    (attempt,) = [a for a in await house.store.attempts(run_id) if a.step == 1]
    assert (attempt.kind, attempt.status_code, attempt.number) == ("wait", 200, 1)


async def test_a_signal_that_came_before_is_kept(house: House) -> None:
    run_id = await house.submit(waiting_plan())
    assert (await send(house, run_id)).signal.wait_id is None
    await house.work()
    run = await ended(house, run_id, RunStatus.SUCCEEDED)
    assert (run.outputs, house.claims) == ({"n": 7}, 1)  # it never let go


async def test_a_second_signal_is_kept_and_refused_after_the_end(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    await send(house, run_id)
    assert (await send(house, run_id)).repeated
    assert (await send(house, run_id, key="k2")).signal.wait_id is None
    await ended(house, run_id, RunStatus.SUCCEEDED)
    assert (await send(house, run_id)).repeated
    with pytest.raises(Conflict, match="status succeeded"):
        await send(house, run_id, key="k3")


async def test_without_an_answer_in_time_the_run_turns_back(house: House) -> None:
    run_id = await waits(house, waiting_plan(timeout=3600))
    await house.execute("UPDATE waits SET expires_at = opened_at")
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert run.cause == "408 Request Timeout: nobody sent the signal paid within 3600 s"
    (wait,) = await house.store.waits_of(run_id)
    assert wait.outcome is WaitOutcome.EXPIRED


async def test_without_an_answer_in_time_a_default_counts(house: House) -> None:
    run_id = await waits(house, waiting_plan(timeout=3600, default={"n": 1}))
    await house.execute("UPDATE waits SET expires_at = opened_at")
    assert (await ended(house, run_id, RunStatus.SUCCEEDED)).outputs == {"n": 1}


async def test_without_an_answer_in_time_an_action_may_lead_elsewhere(house: House) -> None:
    late = [{"type": "goto", "step": "s3", "criteria": [{"condition": "$statusCode == 408"}]}]
    run_id = await waits(house, waiting_plan(timeout=3600, on_failure=late))
    await house.execute("UPDATE waits SET expires_at = opened_at")
    await ended(house, run_id, RunStatus.SUCCEEDED)
    steps = await house.store.steps(run_id)
    assert steps[1].forward.link.status is LinkStatus.HANDLED


async def test_a_retry_asks_once_more(house: House) -> None:
    again = [{"retryLimit": 1, "retryAfter": 1, "criteria": [{"condition": "$statusCode == 408"}]}]
    plan = waiting_plan(timeout=3600, on_failure=again)
    retried = replace(plan.steps[1].call, retry=replace(plan.steps[1].call.retry, max_attempts=2))
    steps = (plan.steps[0], replace(plan.steps[1], call=retried), plan.steps[2])
    run_id = await waits(house, with_digest(replace(plan, steps=steps)))
    await house.execute("UPDATE waits SET expires_at = opened_at")
    await house.sweep()
    await house.work()
    first, second = await house.store.waits_of(run_id)
    assert (first.attempt, first.outcome, second.attempt, second.is_open) == (
        1, WaitOutcome.EXPIRED, 2, True,
    )  # fmt: skip
    await send(house, run_id)
    await ended(house, run_id, RunStatus.SUCCEEDED)


async def test_a_run_that_slept_for_long_only_looks_again(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    for _ in range(3):
        await house.sweep()
        await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.claims) == (RunStatus.WAITING, 0)
    assert len(await house.store.waits_of(run_id)) == 1
    await send(house, run_id)
    await ended(house, run_id, RunStatus.SUCCEEDED)


async def test_what_cannot_be_asked_fails_the_step(house: House) -> None:
    run_id = await house.submit(waiting_plan(approval=True, timeout="$inputs.order"))
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert "/timeout" in run.cause


async def test_past_its_deadline_a_run_waits_no_more(house: House) -> None:
    run_id = await house.submit(waiting_plan(), deadline_seconds=3600.0)
    await house.work()
    run = await house.store.run(run_id)
    assert run.deadline_at is not None
    assert run.wake_at == run.deadline_at
    await house.execute("UPDATE runs SET deadline_at = created_at")
    await ended(house, run_id, RunStatus.COMPENSATED)
    (wait,) = await house.store.waits_of(run_id)
    assert wait.outcome is WaitOutcome.WITHDRAWN


# --- approvals ------------------------------------------------------------------------------------


async def test_an_approval_shows_what_it_is_about(house: House) -> None:
    show = {"order": "$inputs.order", "made": "$steps.s1.outputs.id"}
    await waits(house, waiting_plan(approval=True, show=show, roles=["approver"]))
    (found,) = await desk(house).approvals()
    assert found.asked == {
        "message": "pay o-1?", "show": {"order": "o-1", "made": "s1"}, "roles": ["approver"],
    }  # fmt: skip


async def test_approved_the_run_goes_on(house: House) -> None:
    run_id = await waits(house, waiting_plan(approval=True))
    await desk(house).decide(
        await the_approval(house), Decision.APPROVED, by="ada", via="cli", data={"n": 1}
    )
    await ended(house, run_id, RunStatus.SUCCEEDED)
    outputs = (await house.store.steps(run_id))[1].forward.outputs
    assert outputs is not None
    assert (outputs["decision"], outputs["by"], outputs["data"]) == ("approved", "ada", {"n": 1})


async def test_rejected_the_run_turns_back_and_says_why(house: House) -> None:
    run_id = await waits(house, waiting_plan(approval=True))
    await desk(house).decide(
        await the_approval(house), Decision.REJECTED, by="ada", via="cli", reason="too much"
    )
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert run.cause == "403 Forbidden: rejected by ada: too much"


async def test_a_rejection_may_lead_elsewhere(house: House) -> None:
    no = [{"type": "goto", "step": "s3", "criteria": [{"condition": "$statusCode == 403"}]}]
    run_id = await waits(house, waiting_plan(approval=True, on_failure=no))
    await desk(house).decide(
        await the_approval(house), Decision.REJECTED, by="ada", via="cli", reason="no"
    )
    await ended(house, run_id, RunStatus.SUCCEEDED)


# --- cancel ---------------------------------------------------------------------------------------


async def cancel(house: House, run_id: str) -> None:
    wish = {"mode": CancelMode.UNDO, "reason": "changed my mind", "by": "ada"}
    redelivery = await house.store.request_cancel(run_id, **wish)
    if redelivery is not None:
        await house.redeliverer.publish([redelivery])


async def test_a_cancel_ends_the_wait_at_once(house: House) -> None:
    run_id = await waits(house, waiting_plan(approval=True))
    known = await the_approval(house)
    await cancel(house, run_id)
    with pytest.raises(Conflict, match="to be cancelled"):
        await desk(house).decide(known, Decision.APPROVED, by="bob", via="cli")
    await house.work()
    await ended(house, run_id, RunStatus.COMPENSATED)
    with pytest.raises(Conflict, match="withdrawn"):
        await desk(house).decide(known, Decision.APPROVED, by="bob", via="cli")


async def test_a_cancel_after_the_answer_still_turns_it_back(house: House) -> None:
    run_id = await waits(house, waiting_plan(approval=True))
    await desk(house).decide(await the_approval(house), Decision.APPROVED, by="bob", via="cli")
    await cancel(house, run_id)
    await ended(house, run_id, RunStatus.COMPENSATED)
    assert house.shop.requests("o-1", "s3") == 0


async def test_past_the_pivot_a_cancel_is_refused_and_the_wait_stays_open(house: House) -> None:
    run_id = await waits(house, waiting_plan(pivot=0))
    await cancel(house, run_id)
    await house.work()
    (wait,) = await house.store.waits_of(run_id)
    assert wait.is_open
    await send(house, run_id)
    await ended(house, run_id, RunStatus.SUCCEEDED)


async def test_an_abandoned_run_is_not_waited_for(house: House) -> None:
    run_id = await house.submit(waiting_plan(pivot=0), deadline_seconds=3600.0)
    await house.work()
    await house.execute("UPDATE runs SET deadline_at = created_at")
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (wait,) = await house.store.waits_of(run_id)
    assert wait.is_open  # a person may let it go on
    (escalation,) = await house.store.escalations_of(run_id)
    await house.escalations.abandon(escalation.id, by="ada", reason="enough")
    (wait,) = await house.store.waits_of(run_id)
    assert wait.outcome is WaitOutcome.WITHDRAWN


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["before", "while it sleeps", "while it is dead"])
@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_its_process_dies_around_the_wait(
    house: House, point: str, nth: int, answer: str
) -> None:
    """At the commit that lets it sleep, and at the one after the answer."""
    run_id = await house.submit(waiting_plan())
    if answer == "before":
        await send(house, run_id)
    reached: list[Reached] = []

    def wanted(one: Reached) -> bool:
        if one.point == point and one.at is not None and one.at[0] == 1:
            reached.append(one)
            return len(reached) == nth + 1
        return False

    with dying_at(wanted):
        await house.work()
        if answer == "while it sleeps":
            await send(house, run_id)
        await house.work()
    if answer == "while it is dead":
        await send(house, run_id)
    await ended(house, run_id, RunStatus.SUCCEEDED)
    assert [w.outcome for w in await house.store.waits_of(run_id)] == [WaitOutcome.ANSWERED]
