"""Exceeded limits, failing code of ours, and people's wishes: each a recorded outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import Response
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.errors import NotLanded, NotSent
from orchestrator.ports import GateBusy, Permit, Seen, Visit
from tests.integration.engine.checking import check, outcome
from tests.integration.engine.house import LIMITS, House, dying_at
from tests.integration.engine.world import Fate, Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)
UNKEYED = (Kind.UNKEYED, Kind.UNKEYED)
VERIFIED = (Kind.VERIFIED, Kind.VERIFIED)
F = Direction.FORWARD


# --- what an API may do ---------------------------------------------------------------------------


async def test_outputs_that_are_too_large_turn_the_run_back(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 3))
    house.shop.will("o-1", "s2", Fate.HUGE)
    run = await house.settle(run_id, recoveries=False)
    assert run.status is RunStatus.COMPENSATED
    assert run.cause.startswith("200 OK, but its outputs have 10")
    assert run.cause.endswith("wanted at most 2000")
    steps = await house.store.steps(run_id)
    assert outcome(steps[1]) == ("landed", "landed")
    assert steps[1].forward.outputs == {"id": "s2"}  # what fits is kept: the undo needs it
    await check(house, run_id)


async def test_outputs_of_an_undo_that_are_too_large_are_dropped(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 3))
    house.shop.will("o-1", "s3", Fate.REFUSED)
    house.shop.will("o-1", "s2.undo", Fate.HUGE)
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.COMPENSATED
    assert (await house.store.steps(run_id))[1].undo.outputs in (None, {})
    await check(house, run_id)


@pytest.mark.parametrize("fate", [Fate.UNSEEN, Fate.FAILED, Fate.UNREADABLE])
@pytest.mark.parametrize("kind", [KEYED, VERIFIED])
async def test_an_effect_without_a_usable_answer_is_found_again(
    house: House, kind: tuple[Kind, Kind], fate: Fate
) -> None:
    """In both directions: by the same key, or by asking."""
    run_id = await house.submit(shop_plan([kind] * 3))
    house.shop.will("o-1", "s2", fate)
    house.shop.will("o-1", "s3", *[Fate.REFUSED] * 9)
    house.shop.will("o-1", "s1.undo", fate)
    run = await house.settle(run_id, recoveries=False)
    if kind is KEYED and fate is Fate.UNREADABLE:  # the key gives the same unreadable answer again
        assert run.status is RunStatus.ESCALATED
    else:
        assert run.status is RunStatus.COMPENSATED
    await check(house, run_id)


async def test_a_doubtful_unkeyed_call_is_never_repeated(house: House) -> None:
    run_id = await house.submit(shop_plan([UNKEYED] * 2))
    house.shop.will("o-1", "s2", Fate.LOST)
    run = await house.settle(run_id)
    assert run.status is RunStatus.ESCALATED
    assert house.shop.requests("o-1", "s2") == 1
    (escalation,) = await house.store.escalations_of(run_id)
    assert escalation.reason is EscalationReason.IN_DOUBT
    assert escalation.context["unknown"] == ["s2"]
    assert (await house.decide_truthfully(run_id, "o-1")).status is RunStatus.COMPENSATED
    await check(house, run_id)


@pytest.mark.parametrize("effect", [Fate.UNSEEN, Fate.LOST])
async def test_what_may_not_be_sent_says_nothing_about_what_was(house: House, effect: Fate) -> None:
    """The first attempt may have landed; that the second could not leave does not change that."""
    run_id = await house.submit(shop_plan([KEYED] * 2))
    house.shop.will("o-1", "s2", effect, Fate.FORBIDDEN)
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (escalation,) = await house.store.escalations_of(run_id)
    assert (escalation.reason, escalation.context["unknown"]) == ("in_doubt", ["s2"])
    assert (await house.decide_truthfully(run_id, "o-1")).status in FINAL
    await check(house, run_id)


@pytest.mark.parametrize("fate", [Fate.FORBIDDEN, Fate.DECLINED, Fate.UNSENT, Fate.LOST])
async def test_a_question_without_an_answer_leaves_the_doubt(house: House, fate: Fate) -> None:
    run_id = await house.submit(shop_plan([VERIFIED] * 2))
    house.shop.will("o-1", "s2", Fate.UNSEEN)
    house.shop.will("o-1", "?s2", *[fate] * 9)
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (escalation,) = await house.store.escalations_of(run_id)
    assert (escalation.reason, escalation.context["unknown"]) == ("in_doubt", ["s2"])
    assert house.shop.requests("o-1", "s2") == 1
    await check(house, run_id)


async def test_a_refused_undo_stops_the_chain(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 4))
    house.shop.will("o-1", "s4", Fate.REFUSED)
    house.shop.will("o-1", "s2.undo", Fate.REFUSED)
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    assert house.shop.requests("o-1", "s1.undo") == 0
    (escalation,) = await house.store.escalations_of(run_id)
    assert escalation.context["would_undo"] == ["s2", "s1"]
    await check(house, run_id)


async def test_an_escalation_names_what_nothing_undoes_and_what_a_person_left(
    house: House,
) -> None:
    run_id = await house.submit(shop_plan([KEYED, (Kind.KEYED, None), KEYED, KEYED]))
    house.shop.will("o-1", "s4", Fate.REFUSED)
    house.shop.will("o-1", "s3.undo", Fate.REFUSED)
    house.shop.will("o-1", "s1.undo", Fate.REFUSED)
    await house.settle(run_id)
    (first,) = await house.store.escalations_of(run_id)
    await house.escalations.skip(first.id, by="ada", reason="it may stay")
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (second,) = [e for e in await house.store.escalations_of(run_id) if e.closed_at is None]
    assert [item["step"] for item in second.context["standing"]] == ["s1", "s2", "s3"]
    await check(house, run_id)


async def test_a_long_wait_is_left_to_the_table(house: House) -> None:
    retry = RetryPolicy(first_delay_seconds=600, max_delay_seconds=600, max_elapsed_seconds=None)
    run_id = await house.submit(shop_plan([KEYED] * 2, retry=retry))
    house.shop.will("o-1", "s1", Fate.BUSY)
    worker = await house.worker()
    worker.deps = replace(worker.deps, jitter=lambda: 0.99)
    await house.work()
    run = await house.store.run(run_id)
    assert (run.status, run.owner, run.published_at) == (RunStatus.WAITING, None, None)
    assert not house.broker.hints
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


# --- the gate -------------------------------------------------------------------------------------


class BusyGate:
    """Implements Gate: turns everybody away, `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        return None

    def try_enter(self, visit: Visit) -> Permit | None:
        return None if self.left else _Open()

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        if self.left:
            self.left -= 1
            raise GateBusy(30.0)
        return _Open()


class _Open:
    fresh = True

    def release(self, seen: Seen | None = None) -> None: ...

    def hand_back(self) -> None: ...


@pytest.mark.parametrize("kind", [KEYED, UNKEYED, VERIFIED])
async def test_a_run_that_is_parked_often_is_no_poison(
    house: House, kind: tuple[Kind, Kind]
) -> None:
    """Waiting for a busy API harms no worker, however often. And no intent is left behind."""
    house.gate = BusyGate(LIMITS.max_claims + 5)
    run_id = await house.submit(shop_plan([kind] * 2))
    await house.work()
    for _ in range(LIMITS.max_claims + 4):
        run = await house.store.run(run_id)
        assert (run.status, run.claims) == (RunStatus.PARKED, 0)
        assert outcome((await house.store.steps(run_id))[0]) == ("pending", "pending")
        await house.sweep()
        await house.work()
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert (await house.store.steps(run_id))[0].forward.link.attempts == 1
    await check(house, run_id)


async def test_a_wait_that_is_foreseen_leaves_no_intent_to_withdraw(house: House) -> None:
    """The longest queues are where two more writes for each park would hurt most."""

    class Crowded(BusyGate):
        def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
            return GateBusy(patience_seconds + 1) if self.left else None

        async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
            raise AssertionError("nobody queues where it is hopeless")

    house.gate = gate = Crowded(1)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.PARKED
    gate.left = 0
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    kinds = [record.kind for record in await house.store.audit(run_id)]
    assert "step.withdrawn" not in kinds
    await check(house, run_id)


async def test_a_stale_permit_is_exchanged(house: House) -> None:
    """The commit of an unkeyed intent may take longer than a reservation is good for."""

    given: list[Permit] = []

    class Gate(BusyGate):
        def try_enter(self, api: str) -> Permit | None:
            permit = _Open()
            permit.fresh = len(given) % 2 == 1
            given.append(permit)
            return permit

    house.gate = Gate(0)
    run_id = await house.submit(shop_plan([UNKEYED] * 2))
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.SUCCEEDED
    assert len(given) == 4
    assert len(house.shop.sent) == 2
    await check(house, run_id)


@pytest.mark.parametrize(("error", "told"), [
    (NotSent("no credential", retryable=True), [None, 200]),
    (NotLanded("refused", retryable=True), ["not_landed", 200]),
])  # fmt: skip
async def test_the_gate_hears_how_calls_went_but_not_of_faults_of_ours(
    house: House, monkeypatch: pytest.MonkeyPatch, error: NotLanded, told: list[object]
) -> None:
    heard: list[object] = []

    class Told(_Open):
        def release(self, seen: Seen | None = None) -> None:
            answer = seen and seen.response
            heard.append(answer.status if answer else seen and seen.outcome)

    class Gate(BusyGate):
        def try_enter(self, visit: Visit) -> Permit | None:
            return Told()

    send, errors = house.shop.send, [error]

    async def fail_first(*args: Any, **more: Any) -> Response:
        if errors:
            raise errors.pop()
        return await send(*args, **more)

    monkeypatch.setattr(house.shop, "send", fail_first)
    house.gate = Gate(0)
    run_id = await house.submit(shop_plan([KEYED]))
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert heard == told
    await check(house, run_id)


# --- code of ours ---------------------------------------------------------------------------------


class Bug(Exception):
    """Nobody foresaw it."""


def break_at(
    monkeypatch: pytest.MonkeyPatch, method: str, step: int, direction: Direction = F
) -> None:
    """Let a method of Program fail for one link."""
    real = getattr(Program, method)

    def broken(self: Program, index: int, way: Direction, *args: Any, **more: Any) -> Any:
        if (index, way) == (step, direction):
            raise Bug("of ours")
        return real(self, index, way, *args, **more)

    monkeypatch.setattr(Program, method, broken)


async def test_a_request_that_cannot_be_made_turns_the_run_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(monkeypatch, "prepare", 1)
    run_id = await house.submit(shop_plan([KEYED] * 3))
    run = await house.settle(run_id, recoveries=False)
    assert run.status is RunStatus.COMPENSATED
    assert run.cause == "the making of the request failed: Bug: of ours"
    await check(house, run_id)


async def test_an_undo_that_cannot_be_made_escalates(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(monkeypatch, "prepare", 0, Direction.BACKWARD)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    house.shop.will("o-1", "s2", Fate.REFUSED)
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.ESCALATED
    await check(house, run_id)


async def test_an_answer_that_cannot_be_judged_is_a_doubt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect may exist: the run neither goes on nor turns back as if it knew."""
    break_at(monkeypatch, "judge", 1)
    run_id = await house.submit(shop_plan([KEYED] * 3))
    run = await house.settle(run_id)
    assert run.status is RunStatus.ESCALATED
    assert run.cause == "the call or the reading of its answer failed: Bug: of ours"
    assert house.shop.requests("o-1", "s2") == 4  # as often as the retry policy says
    await check(house, run_id)


async def test_a_question_that_cannot_be_made_leaves_the_doubt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at(monkeypatch, "prepare_verify", 0)
    run_id = await house.submit(shop_plan([VERIFIED] * 2))
    house.shop.will("o-1", "s1", Fate.UNSEEN)
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    assert house.shop.times("o-1", "s1") == 1
    await check(house, run_id)


async def test_a_run_without_its_outputs_has_succeeded_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Program, facts: object) -> Any:
        raise Bug("of ours")

    monkeypatch.setattr(Program, "outputs", broken)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    run = await house.settle(run_id, recoveries=False)
    assert (run.status, run.outputs) == (RunStatus.SUCCEEDED, None)
    kinds = [record.kind for record in await house.store.audit(run_id)]
    assert "outputs.failed" in kinds
    await check(house, run_id)


# --- poison ---------------------------------------------------------------------------------------


async def test_a_run_that_kills_its_workers_is_escalated(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 3))
    house.limits = replace(LIMITS, max_claims=4)
    deaths = 0
    for _ in range(8):
        with dying_at(lambda r: r.point == "after_answer" and r.at == (1, F)) as hit:
            await house.work()
        deaths += len(hit)
        await house.sweep()
    assert deaths == 5  # its first claim made progress with s1, and so was not counted
    assert (await house.store.run(run_id)).status is RunStatus.ESCALATED
    (escalation,) = await house.store.escalations_of(run_id)
    assert escalation.reason is EscalationReason.POISONED
    assert escalation.context["unknown"] == ["s2"]
    await check(house, run_id)
    assert (await house.decide_truthfully(run_id, "o-1")).status is RunStatus.SUCCEEDED
    await check(house, run_id)


# --- wishes ---------------------------------------------------------------------------------------


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
