"""A step that sleeps: nobody holds its run, it goes on when its time has come, whoever dies."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.crashpoints import Reached
from orchestrator.definitions.waiting import SIGNAL, SLEEP, wait_call
from orchestrator.ports import Asks, RunRecord, WaitOutcome
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, dying_at
from tests.integration.engine.test_waits import desk
from tests.integration.engine.world import Kind, shop_plan

WEEKS = timedelta(days=40)
KEYED = (Kind.KEYED, Kind.KEYED)


def sleeping_plan(*, pivot: int | None = None, **given: Any) -> Plan:
    """s1, a sleep, s3: each but the sleep with an undo."""
    plan = shop_plan([KEYED if pivot is None else (Kind.KEYED, None)] * 3, pivot=pivot)
    call = wait_call(SLEEP, "order.s2", given)
    steps = (plan.steps[0], PlanStep(id="s2", call=call), plan.steps[2])
    outputs = {"woken": "$steps.s2.outputs.until"}
    return with_digest(replace(plan, steps=steps, outputs=outputs, waits=True))


async def asleep(house: House, plan: Plan, **changes: Any) -> str:
    run_id = await house.submit(plan, **changes)
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.owner) == (RunStatus.WAITING, None)
    assert (house.shop.requests("o-1", "s1"), house.shop.requests("o-1", "s3")) == (1, 0)
    return run_id


async def its_time_comes(house: House) -> None:
    await house.execute("UPDATE waits SET expires_at = opened_at WHERE closed_at IS NULL")


async def ended(house: House, run_id: str, status: RunStatus) -> RunRecord:
    run = await house.settle(run_id)
    assert run.status is status
    await check(house, run_id)
    return run


async def test_a_run_sleeps_for_a_duration(house: House) -> None:
    run_id = await asleep(house, sleeping_plan(**{"for": WEEKS.total_seconds()}))
    (wait,) = await house.store.waits_of(run_id)
    run = await house.store.run(run_id)
    assert wait.expires_at is not None
    assert abs(wait.expires_at - wait.opened_at - WEEKS) < timedelta(seconds=5)
    assert (wait.asks, run.wake_at) == (Asks.SLEEP, wait.expires_at)
    await its_time_comes(house)
    run = await ended(house, run_id, RunStatus.SUCCEEDED)
    (wait,) = await house.store.waits_of(run_id)
    assert (wait.outcome, wait.expires_at) == (WaitOutcome.EXPIRED, wait.opened_at)
    assert wait.expires_at is not None
    assert run.outputs == {"woken": wait.expires_at.isoformat()}
    (attempt,) = [a for a in await house.store.attempts(run_id) if a.step == 1]
    assert (attempt.kind, attempt.status_code, attempt.number) == ("wait", 200, 1)


async def test_one_that_is_woken_too_early_sleeps_on(house: House) -> None:
    run_id = await asleep(house, sleeping_plan(**{"for": 3600}))
    first = (await house.store.waits_of(run_id))[0].expires_at
    await house.sweep()
    await house.work()
    (wait,) = await house.store.waits_of(run_id)
    assert (wait.is_open, wait.expires_at) == (True, first)
    assert (await house.store.run(run_id)).wake_at == first


async def test_a_run_sleeps_until_a_time_that_an_expression_gives(house: House) -> None:
    plan = sleeping_plan(until="$inputs.order")
    at = (await house.store.now()).replace(microsecond=0) + WEEKS
    run_id = await house.submit(plan, order=at.isoformat())
    await house.work()
    (wait,) = await house.store.waits_of(run_id)
    assert wait.expires_at == at
    assert (await house.store.run(run_id)).wake_at == at


@pytest.mark.parametrize("given", [{"until": "2020-01-01T00:00:00Z"}, {"for": 0}])
async def test_a_time_that_is_over_is_not_slept_for(house: House, given: dict[str, Any]) -> None:
    run_id = await house.submit(sleeping_plan(**given))
    await house.work()
    await ended(house, run_id, RunStatus.SUCCEEDED)
    assert house.claims == 1  # it never let go


async def test_what_follows_a_sleep_may_wait_as_well(house: House) -> None:
    """A commit that ends one must not end the next."""
    plan = sleeping_plan(**{"for": 3600})
    again = PlanStep(id="s2b", call=wait_call(SLEEP, "order.s2b", {"for": 7200}))
    asks = PlanStep(id="s2c", call=wait_call(SIGNAL, "order.s2c", {"signal": "paid"}))
    plan = with_digest(replace(plan, steps=(*plan.steps[:2], again, asks, plan.steps[2])))
    run_id = await asleep(house, plan)
    for nth in (1, 2):
        await its_time_comes(house)
        await house.sweep()
        await house.work()
        *slept, at = await house.store.waits_of(run_id)
        assert [each.outcome for each in slept] == [WaitOutcome.EXPIRED] * nth
        assert (at.is_open, at.step) == (True, nth + 1)
        assert (await house.store.run(run_id)).status is RunStatus.WAITING
    await desk(house).send_signal(run_id, "paid", key="k", data={}, by="bank", via="rest")
    await ended(house, run_id, RunStatus.SUCCEEDED)


async def test_what_is_no_time_fails_the_step_and_says_where(house: House) -> None:
    run_id = await house.submit(sleeping_plan(until="$inputs.order"))
    run = await ended(house, run_id, RunStatus.COMPENSATED)
    assert "step order.s2" in run.cause
    assert "/until ($inputs.order): found 'o-1'" in run.cause


async def test_a_sleep_beyond_the_deadline_ends_with_it(house: House) -> None:
    run_id = await asleep(house, sleeping_plan(**{"for": 7200}), deadline_seconds=3600.0)
    run = await house.store.run(run_id)
    assert run.wake_at == run.deadline_at
    await house.execute("UPDATE runs SET deadline_at = created_at")
    await ended(house, run_id, RunStatus.COMPENSATED)
    (wait,) = await house.store.waits_of(run_id)
    assert wait.outcome is WaitOutcome.WITHDRAWN


async def test_a_cancel_does_not_wait_for_it(house: House) -> None:
    run_id = await asleep(house, sleeping_plan(**{"for": 3600}))
    redelivery = await house.store.request_cancel(
        run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
    )
    assert redelivery is not None
    await house.redeliverer.publish([redelivery])
    await house.work()
    await ended(house, run_id, RunStatus.COMPENSATED)
    assert house.shop.requests("o-1", "s3") == 0


@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_its_process_dies_around_the_sleep(house: House, point: str, nth: int) -> None:
    """At the commit that lets it sleep, at the one that finds its time over, at the one after."""
    run_id = await house.submit(sleeping_plan(**{"for": 3600}))
    reached: list[Reached] = []

    def wanted(one: Reached) -> bool:
        if one.point == point and one.at is not None and one.at[0] in (1, 2):
            reached.append(one)
            return len(reached) == nth + 1
        return False

    with dying_at(wanted):
        await house.work()
        await house.sweep()  # of its process, where that has died
        await house.work()
        await its_time_comes(house)
        await house.sweep()
        await house.work()
    assert len(reached) > nth
    await ended(house, run_id, RunStatus.SUCCEEDED)
    assert [w.outcome for w in await house.store.waits_of(run_id)] == [WaitOutcome.EXPIRED]
