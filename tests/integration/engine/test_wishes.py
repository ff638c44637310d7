"""What somebody wants of a run while it waits or works: its end, or to be done by a time."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import Direction, RunStatus
from orchestrator.ports import GateBusy, Permit, Visit
from tests.integration.engine.busy_gate import BusyGate
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, dying_at
from tests.integration.engine.world import Fate, Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)
UNKEYED = (Kind.UNKEYED, Kind.UNKEYED)
VERIFIED = (Kind.VERIFIED, Kind.VERIFIED)
F = Direction.FORWARD


async def test_a_cancel_wakes_a_run_that_waits(house: House) -> None:
    run_id = await parked(house)
    redelivery = await house.store.request_cancel(
        run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
    )
    assert redelivery is not None
    await house.redeliverer.publish([redelivery])
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, "changed my mind")
    await check(house, run_id)


async def parked(house: House) -> str:
    """A run whose second step has to wait for an hour."""
    busy_after(house, "s1")
    run_id = await house.submit(shop_plan([KEYED] * 3))
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.PARKED
    return run_id


def busy_after(house: House, name: str) -> None:
    """The gate turns the run away once after this request."""
    house.gate = gate = BusyGate(0)

    def close(sent: str) -> None:
        gate.left = int(sent == name)

    house.shop.on_send = close


async def test_a_cancel_while_it_goes_to_sleep_is_answered_at_once(house: House) -> None:
    """The wish came when the run was still owned, so nobody else will wake it."""
    house.gate = BusyGate(1)
    run_id = await house.submit(shop_plan([KEYED] * 3))
    worker = await house.worker()

    async def cancel(writes: Any) -> None:
        if writes[0].release and writes[0].saga.status is RunStatus.PARKED:
            worker.on_record = None
            wish = await house.store.request_cancel(
                run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
            )
            assert wish is None

    worker.on_record = cancel
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, "changed my mind")
    await check(house, run_id)


async def test_past_the_pivot_a_cancel_is_refused_once_and_the_wait_kept(house: House) -> None:
    busy_after(house, "s1")
    run_id = await house.submit(shop_plan([KEYED, (Kind.KEYED, None)], pivot=0))
    worker = await house.worker()

    async def cancel(writes: Any) -> None:
        if writes[0].release and writes[0].saga.status is RunStatus.PARKED:
            worker.on_record = None
            await house.store.request_cancel(
                run_id, mode=CancelMode.UNDO, reason="too late", by="ada"
            )

    worker.on_record = cancel
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.owner) == (RunStatus.PARKED, None)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    kinds = [record.kind for record in await house.store.audit(run_id)]
    assert kinds.count("cancel.refused") == 1
    await check(house, run_id)


@pytest.mark.parametrize(("pivot", "ending"), [
    (None, RunStatus.COMPENSATED), (0, RunStatus.ESCALATED),
])  # fmt: skip
async def test_past_its_deadline_a_run_begins_nothing(
    house: House, pivot: int | None, ending: RunStatus
) -> None:
    busy_after(house, "s1")
    undo = None if pivot is not None else Kind.KEYED
    run_id = await house.submit(
        shop_plan([(Kind.KEYED, undo)] * 3, pivot=pivot), deadline_seconds=3600.0
    )
    await house.work()
    await house.execute("UPDATE runs SET deadline_at = created_at")
    run = await house.settle(run_id)
    assert run.status is ending
    assert house.shop.requests("o-1", "s2") == 0
    await check(house, run_id)


async def test_who_would_be_let_in_past_its_deadline_waits_for_that_only(house: House) -> None:
    """It hears so at once, and turns back when the deadline has come."""
    seen: list[float] = []

    class Crowded(BusyGate):
        def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
            seen.append(patience_seconds)
            return GateBusy(3600.0) if self.left else None

    house.gate = gate = Crowded(0)

    def close(sent: str) -> None:
        gate.left = int(sent == "s1")

    house.shop.on_send = close
    run_id = await house.submit(shop_plan([KEYED] * 3), deadline_seconds=4.0)
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.wake_at) == (RunStatus.PARKED, run.deadline_at)
    assert all(patience <= 4.0 for patience in seen)
    gate.left = 0
    await house.execute("UPDATE runs SET deadline_at = created_at, wake_at = created_at")
    assert (await house.settle(run_id)).status is RunStatus.COMPENSATED
    assert house.shop.requests("o-1", "s2") == 0
    await check(house, run_id)


async def test_a_repeated_attempt_says_so_at_the_gate(house: House) -> None:
    """So that retries can be held back while an API has enough of them."""
    visits: list[tuple[str, bool, bool]] = []

    class Gate(BusyGate):
        def try_enter(self, visit: Visit) -> Permit | None:
            visits.append((visit.operation, visit.undo, visit.retry))
            return super().try_enter(visit)

    house.gate = Gate(0)
    house.shop.will("o-1", "s1", Fate.BUSY)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert [retry for _, _, retry in visits] == [False, True, False]


async def test_handed_over_while_it_waits_and_somebody_wants_it_cancelled(house: House) -> None:
    """It is neither kept by the worker that ends nor put to sleep with the wish."""
    run_id = await house.submit(shop_plan([KEYED] * 2))
    house.shop.will("o-1", "s2", Fate.BUSY)
    worker = await house.worker()

    async def hand_over(writes: Any) -> None:
        if writes[0].saga.status is RunStatus.WAITING:
            worker.after_record = None
            assert worker.driver is not None
            worker.driver.hand_over()
            await house.store.request_cancel(
                run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
            )

    worker.after_record = hand_over
    await worker.drive(house.broker.hints.popleft())
    run = await house.store.run(run_id)
    assert (run.owner, run.direction) == (None, Direction.BACKWARD)
    assert [hint.run_id for hint in house.broker.hints] == [run_id]
    assert (await house.settle(run_id)).status is RunStatus.COMPENSATED
    await check(house, run_id)


@pytest.mark.parametrize("undo", [Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED])
async def test_a_death_after_a_cancel_is_taken_up_at_the_same_link(
    house: House, undo: Kind
) -> None:
    """What the way back skips is recorded with the undo that it leads to."""
    run_id = await house.submit(shop_plan([(Kind.KEYED, undo), (Kind.KEYED, None), KEYED]))

    def at_last_step(name: str) -> Any:
        return cancel() if name == "s2" else None

    async def cancel() -> None:
        await house.store.request_cancel(
            run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
        )

    house.shop.on_send = at_last_step
    with dying_at(lambda r: r.point == "after_intent" and r.at == (0, Direction.BACKWARD)) as hit:
        await house.work()
    assert hit
    run = await house.settle(run_id)
    assert run.status is (RunStatus.ESCALATED if undo is Kind.UNKEYED else RunStatus.COMPENSATED)
    await check(house, run_id)
