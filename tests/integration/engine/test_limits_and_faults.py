"""Exceeded limits, odd answers and failing code of ours: each a recorded outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.exchange import Response
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.engine import driver
from orchestrator.errors import NotLanded, NotSent
from orchestrator.ports import GateBusy, Permit, Seen, Visit
from tests.integration.engine.busy_gate import BusyGate, LateGate, OpenPermit
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


START_WITHIN_SECONDS = 0.1


@pytest.mark.parametrize("kind", [KEYED, UNKEYED])
@pytest.mark.parametrize("other_way", [True, False])
async def test_a_step_waits_for_its_api_no_longer_than_it_says(
    house: House, kind: tuple[Kind, Kind], other_way: bool
) -> None:
    """Then its actions have their turn, and nothing was sent; else the run turns back."""

    class Ill(BusyGate):
        def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
            return GateBusy(30.0) if visit.operation.endswith("/s2") else None

        def try_enter(self, visit: Visit) -> Permit | None:
            return None if self.turns_away(visit, patience_seconds=0.0) else OpenPermit()

        async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
            assert patience_seconds <= START_WITHIN_SECONDS
            raise GateBusy(30.0)

    house.gate = Ill(0)
    plan = shop_plan([KEYED, kind, KEYED])
    first, ill, last = plan.steps
    actions = {"onFailure": [{"type": "goto", "step": "s3"}]} if other_way else {}
    call = replace(
        ill.call, start_within_seconds=START_WITHIN_SECONDS,
        template={**ill.call.template, **actions},
    )  # fmt: skip
    steps = (first, replace(ill, call=call), last)
    run_id = await house.submit(with_digest(replace(plan, steps=steps, jumps=True)))
    await house.work()
    run, (one, *_) = await house.store.run(run_id), await house.store.steps(run_id)
    ended = one.forward.finished_at
    assert run.status is RunStatus.PARKED
    assert run.wake_at is not None
    assert ended is not None
    assert (run.wake_at - ended).total_seconds() == pytest.approx(START_WITHIN_SECONDS)
    await asyncio.sleep(START_WITHIN_SECONDS)
    run = await house.settle(run_id)
    assert run.status is (RunStatus.SUCCEEDED if other_way else RunStatus.COMPENSATED)
    assert house.shop.requests("o-1", "s2") == 0
    assert house.shop.requests("o-1", "s3") == other_way
    failed = [record for record in await house.store.audit(run_id) if "s2" in str(record.data)]
    assert any("no request could leave within 0.1 s" in str(record.data) for record in failed)
    if not other_way:
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
            permit = OpenPermit()
            permit.fresh = len(given) % 2 == 1
            given.append(permit)
            return permit

    house.gate = Gate(0)
    run_id = await house.submit(shop_plan([UNKEYED] * 2))
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.SUCCEEDED
    assert len(given) == 4
    assert len(house.shop.sent) == 2
    await check(house, run_id)


@pytest.mark.parametrize("kind", [KEYED, UNKEYED])
async def test_a_call_that_is_held_up_on_its_way_out_asks_the_gate_again(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: tuple[Kind, Kind]
) -> None:
    """Not an attempt: its permit is over when it has a connection, and so goes back."""
    gate = LateGate(lates=2)
    monkeypatch.setattr(house.shop, "on_send", gate.on_send)
    house.gate = gate
    run_id = await house.submit(shop_plan([kind]))
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.SUCCEEDED
    assert [permit.ends for permit in gate.given] == [
        ["handed back"],
        ["handed back"],
        ["released"],
    ]
    assert [record.number for record in await house.store.attempts(run_id)] == [1]
    await check(house, run_id)


async def test_a_process_that_is_held_up_again_and_again_gives_the_run_up_for_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = LateGate(lates=driver.MOST_HELD_UP)
    monkeypatch.setattr(house.shop, "on_send", gate.on_send)
    house.gate = gate
    run_id = await house.submit(shop_plan([KEYED]))
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.PARKED
    assert [permit.ends for permit in gate.given[:-1]] == [["handed back"]] * driver.MOST_HELD_UP
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert len(house.shop.sent) == 1
    await check(house, run_id)


@pytest.mark.parametrize(("error", "told"), [
    (NotSent("no credential", retryable=True), [None, 200]),
    (NotLanded("refused", retryable=True), ["not_landed", 200]),
])  # fmt: skip
async def test_the_gate_hears_how_calls_went_but_not_of_faults_of_ours(
    house: House, monkeypatch: pytest.MonkeyPatch, error: NotLanded, told: list[object]
) -> None:
    heard: list[object] = []

    class Told(OpenPermit):
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
