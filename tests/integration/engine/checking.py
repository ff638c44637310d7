"""Holds the tables against what the API saw. Knows nothing of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.plan import Effects, Plan
from orchestrator.core.states import HAPPENED, SETTLED, Direction, LinkStatus, RunStatus
from orchestrator.ports import LinkRecord, RunRecord, StepRecord
from orchestrator.service.auditing import Auditing
from orchestrator.service.consistency import Consistency
from orchestrator.service.escalations import reconcile_dead_letters
from tests.integration.engine.house import House
from tests.integration.engine.tracing import check_trace
from tests.integration.engine.world import Sent, Shop

F, B = Direction.FORWARD, Direction.BACKWARD


async def check(house: House, run_id: str, order: str = "o-1", *, sent: int | None = None) -> None:
    """Every promise about one settled run. Only the first `sent` requests are judged by order."""
    run, steps = await house.store.run(run_id), await house.store.steps(run_id)
    plan = (await house.store.workflow_by_id(run.workflow_id)).plan
    assert run.status in SETTLED, run.status
    assert run.owner is None
    assert house.shop.other_bytes == [], "a key with other bytes"
    for step in steps:
        for direction in Direction:
            _check_link(house.shop, order, plan, step, direction)
    _check_ending(house.shop, order, plan, run, steps)
    _check_order(order, house.shop.sent[:sent])
    await _check_records(house, run)
    look = Consistency(house.store, Auditing(house.store).verify_run, again_seconds=0.0)
    assert (await look.look(most=10)).found == []
    await _check_escalations(house, run, plan, order)
    await check_trace(house, run)


def name_of(step: StepRecord, direction: Direction) -> str:
    """As the API knows the link."""
    return step.step_id if direction is F else f"{step.step_id}.undo"


def _check_link(shop: Shop, order: str, plan: Plan, step: StepRecord, direction: Direction) -> None:
    record = step.forward if direction is F else step.undo
    name, link = name_of(step, direction), record.link
    times = shop.times(order, name)
    assert times <= 1, f"{name} was done {times} times"
    if link.status is LinkStatus.LANDED and _has_effect(plan, step.index, direction):
        assert times == 1, f"{name} is recorded as landed but never happened"
    if link.status is LinkStatus.FAILED:
        assert times == 0, f"{name} is recorded as failed but happened"
    if link.status is LinkStatus.PENDING and not link.doubt:
        assert times == 0, f"{name} happened and the table knows nothing of it"
    _check_request(shop, order, name, record)


def _check_request(shop: Shop, order: str, name: str, record: LinkRecord) -> None:
    bodies = {sent.body for sent in shop.sent if (sent.order, sent.name) == (order, name)}
    assert len(bodies) <= 1, f"{name} was sent with different bodies"
    if bodies:
        assert record.request is not None, f"{name} was sent before it was recorded"
        assert {record.request.body} == bodies


def _has_effect(plan: Plan, index: int, direction: Direction) -> bool:
    step = plan.steps[index]
    call = step.call if direction is F else step.compensation and step.compensation.call
    return call is not None and call.effects is not Effects.NONE


def _check_ending(
    shop: Shop, order: str, plan: Plan, run: RunRecord, steps: Sequence[StepRecord]
) -> None:
    applied = shop.applied[order]
    done = [name for name in applied if not name.endswith(".undo")]
    undone = [name.removesuffix(".undo") for name in applied if name.endswith(".undo")]
    if run.status is RunStatus.SUCCEEDED:
        assert undone == []
        assert done == [step.id for step in plan.steps if step.call.effects is not Effects.NONE]
    if run.status is RunStatus.COMPENSATED:
        by_id = {step.id: step for step in plan.steps}
        wanted = [name for name in done if _has_effect(plan, _index(steps, name), B)]
        assert undone == wanted[::-1], applied
        assert all(by_id[name].compensation for name in undone)
    for name in undone:
        assert name in done, f"{name} was undone and never done"


def _index(steps: Sequence[StepRecord], step_id: str) -> int:
    return next(step.index for step in steps if step.step_id == step_id)


def _check_order(order: str, sent: Sequence[Sent]) -> None:
    """Undos are asked for in reverse, after everything that was done."""
    names = [s.name.lstrip("?") for s in sent if s.order == order]
    first = list(dict.fromkeys(names))
    forward = [name for name in first if not name.endswith(".undo")]
    backward = [name.removesuffix(".undo") for name in first if name.endswith(".undo")]
    assert forward == sorted(forward)
    assert backward == sorted(backward, reverse=True)
    begun = next((i for i, name in enumerate(names) if name.endswith(".undo")), len(names))
    assert all(name.endswith(".undo") for name in names[begun:]), names


async def _check_records(house: House, run: RunRecord) -> None:
    audit = await house.store.audit(run.id)
    assert [record.seq for record in audit] == list(range(1, len(audit) + 1))
    ends = [r.kind for r in audit if r.kind in {f"run.{s}" for s in SETTLED}]
    assert ends[-1] == f"run.{run.status}"
    assert sum(end != "run.escalated" for end in ends) <= 1, ends
    steps = await house.store.steps(run.id)
    links = [link.link for step in steps for link in (step.forward, step.undo)]
    taken = [link.sequence for link in links if link.sequence is not None]
    assert sorted(taken) == list(range(1, len(taken) + 1))
    poisoned = any(r.data.get("reason") == "poisoned" for r in audit)
    assert poisoned or all(link.status is not LinkStatus.STARTED for link in links)


async def _check_escalations(house: House, run: RunRecord, plan: Plan, order: str) -> None:
    await reconcile_dead_letters(house.store, house.broker)
    opened = [e for e in await house.store.escalations_of(run.id) if e.closed_at is None]
    assert len(opened) == (run.status is RunStatus.ESCALATED)
    assert sorted(house.broker.letters) == sorted(await house.store.open_unclaimed())
    if opened:
        named = _named(opened[0].context)
        for name in house.shop.applied[order]:
            if not name.endswith(".undo") and house.shop.times(order, f"{name}.undo") == 0:
                assert name in named, f"{name} is there and the escalation does not say so"


def _named(context: Any) -> set[str]:
    standing = {item["step"] for item in context["standing"]}
    stuck = {context["stuck"]["step"]} if context["stuck"] else set()
    return standing | stuck | set(context["unknown"])


def outcome(step: StepRecord) -> tuple[str, str]:
    """Where both links ended."""
    return step.forward.link.status.value, step.undo.link.status.value


def landed(steps: Sequence[StepRecord]) -> list[str]:
    """Ids of steps that happened."""
    return [step.step_id for step in steps if step.forward.link.status in HAPPENED]
