"""A waiting run goes on by another version: each step is undone by what its version promised."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from orchestrator.core import journal
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.definitions.waiting import SLEEP, wait_call
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.ports import RunFilter, WaitOutcome
from orchestrator.service.auditing import Auditing
from orchestrator.service.checking_runs import CheckingRuns
from orchestrator.service.consistency import Consistency
from orchestrator.service.job_kinds import job_kinds
from orchestrator.service.moving import Migration, Moving
from orchestrator.service.rerunning import Rerunning, never_again
from tests.integration.engine.house import House, new_id
from tests.integration.engine.test_waits import KEYED, send, waiting_plan, waits
from tests.integration.engine.world import Fate, Kind, shop_plan, shop_step
from tests.store.making import registered


def undone_at(step: PlanStep, name: str) -> PlanStep:
    """The step, undone at another place of the API."""
    assert step.compensation is not None
    call = step.compensation.call
    call = replace(call, template={**call.template, "path": f"/orders/{{order}}/{name}"})
    return replace(step, compensation=replace(step.compensation, call=call))


def newer(**changes: Any) -> Plan:
    """Undoes s1 elsewhere, and has one step more."""
    base = waiting_plan()
    first, wait, third = base.steps
    steps = (
        undone_at(first, "new1"),
        wait,
        undone_at(third, "new3"),
        shop_step("s4", "order", *KEYED),
    )
    return with_digest(replace(base, **{"steps": steps, "digest": "", **changes}))


def desk(house: House) -> Moving:
    return Moving(house.store, house.programs, house.redeliverer)


async def publish(house: House, plan: Plan) -> int:
    return (await house.store.publish(plan, document="", by="ada"))[0].version


async def move(house: House, run_id: str, to: int = 2, step: str | None = None) -> None:
    wish = Migration(to=to, step=step)
    await desk(house).migrate(run_id, wish, by="ada", reason="a fixed undo")


async def checked(house: House, run_id: str) -> list[str]:
    """What the API did; the tables are whole, and the journal leads where the run went."""
    look = Consistency(house.store, Auditing(house.store).verify_run, again_seconds=0.0)
    assert (await look.look(most=10)).found == []
    run = await house.store.run(run_id)
    assert house.shop.other_bytes == []
    entries = [
        each
        for record in await house.store.audit(run_id)
        for each in journal.of_record(record.at, record.data)
    ]
    first = await house.store.workflow(run.workflow, 1)
    ids = {each["to"] for each in entries if each["event"] == "Migrated"}
    plans = {each: (await house.store.workflow_by_id(each)).plan for each in ids}
    saga = journal.replay(first.plan, entries, plans=plans)
    assert (saga.status, saga.path) == (run.status, run.path)
    return house.shop.applied["o-1"]


async def test_it_waits_on_and_everything_is_undone_in_reverse_by_its_own_version(
    house: House,
) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer())
    await move(house, run_id)
    run = await house.store.run(run_id)
    assert (run.status, run.version, run.owner) == (RunStatus.WAITING, 2, None)
    house.shop.will("o-1", "s4", Fate.REFUSED)
    await send(house, run_id)
    run = await house.settle(run_id)
    assert run.status is RunStatus.COMPENSATED
    assert await checked(house, run_id) == ["s1", "s3", "new3.undo", "s1.undo"]
    steps = await house.store.steps(run_id)
    assert [(step.step_id, step.version) for step in steps] == [
        ("s1", 1), ("s2", 2), ("s3", 2), ("s4", 2),
    ]  # fmt: skip
    # Nobody is offered to run it again: that is refused whatever the step.
    plan = (await house.programs.get(run.workflow_id)).plan
    (against,) = never_again(run, plan)
    assert against.found == "a way by several versions of the workflow"
    (told,) = [each for each in await house.store.audit(run_id) if each.kind == "run.migrated"]
    assert told.actor == "ada"
    assert {name: told.data[name] for name in ("from", "to", "step", "reason")} == {
        "from": 1, "to": 2, "step": "s2", "reason": "a fixed undo",
    }  # fmt: skip


async def test_at_another_step_nobody_is_waited_for_any_more(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer(outputs={}))
    await move(house, run_id, step="s3")
    run = await house.settle(run_id)
    assert run.status is RunStatus.SUCCEEDED
    assert await checked(house, run_id) == ["s1", "s3", "s4"]
    (wait,) = await house.store.waits_of(run_id)
    assert wait.outcome is WaitOutcome.WITHDRAWN
    assert (await house.store.steps(run_id))[1].forward.link.status is LinkStatus.HANDLED


async def test_a_step_that_had_its_tries_is_sent_under_another_key(house: House) -> None:
    old = shop_plan([KEYED] * 2)
    slow = {**old.steps[1].call.template, "onFailure": [{"retryLimit": 3, "retryAfter": 600}]}
    tried = replace(old.steps[1], call=replace(old.steps[1].call, template=slow))
    run_id = await house.submit(with_digest(replace(old, steps=(old.steps[0], tried), digest="")))
    house.shop.will("o-1", "s2", Fate.BUSY)
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    fixed = shop_plan([KEYED] * 2)
    body = {"contentType": "application/json", "payload": {"of": "$steps.s1.outputs.id"}}
    call = fixed.steps[1].call
    call = replace(call, template={**call.template, "requestBody": body})
    steps = (fixed.steps[0], replace(fixed.steps[1], call=call))
    await publish(house, with_digest(replace(fixed, steps=steps, digest="")))
    await move(house, run_id)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert await checked(house, run_id) == ["s1", "s2"]
    first, second = [sent for sent in house.shop.sent if sent.name == "s2"]
    assert first.key != second.key
    assert second.body == b'{"of":"s1"}'


async def test_there_and_back_again(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer())
    await move(house, run_id)
    await move(house, run_id, to=1)
    await send(house, run_id)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert await checked(house, run_id) == ["s1", "s3"]
    assert (await house.store.run(run_id)).version == 1


async def test_inputs_get_the_defaults_of_the_new_version(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    schema = {**waiting_plan().inputs_schema, "properties": {
        "order": {"type": "string"}, "gift": {"type": "boolean", "default": False},
    }}  # fmt: skip
    await publish(house, newer(inputs_schema=schema))
    await move(house, run_id)
    assert (await house.store.run(run_id)).inputs == {"order": "o-1", "gift": False}


async def test_a_sleeper_sleeps_on(house: House) -> None:
    base = waiting_plan()
    sleep = replace(base.steps[1], call=wait_call(SLEEP, "order.s2", {"for": 3600.0}))
    old = with_digest(
        replace(base, steps=(base.steps[0], sleep, base.steps[2]), outputs={}, digest="")
    )
    run_id = await waits(house, old)
    before = await house.store.run(run_id)
    await publish(house, newer(steps=(*old.steps, shop_step("s4", "order", *KEYED)), outputs={}))
    await move(house, run_id)
    after = await house.store.run(run_id)
    assert (after.status, after.wake_at) == (RunStatus.WAITING, before.wake_at)
    await house.execute("UPDATE waits SET expires_at = opened_at")
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED


async def refused(house: House, run_id: str, to: int = 2, step: str | None = None) -> str:
    before = await house.store.run(run_id)
    with pytest.raises(Conflict) as caught:
        await move(house, run_id, to=to, step=step)
    assert await house.store.run(run_id) == before
    return "; ".join(
        f"{each.place.removeprefix(f'run {run_id}, ')}: {each.found}"
        for each in caught.value.problems
    )


async def test_what_a_later_step_reads_has_to_be_recorded(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    base = newer()
    read = shop_step("s5", "order", *KEYED)
    payload = {
        "a": "$steps.s0.outputs.id",
        "b": "$steps.s1.outputs.total",
        "c": "$steps.s3.outputs.id",
    }
    body = {"contentType": "application/json", "payload": payload}
    read = replace(
        read, call=replace(read.call, template={**read.call.template, "requestBody": body})
    )
    s0 = shop_step("s0", "order", *KEYED)
    await publish(house, newer(steps=(s0, *base.steps, read)))
    assert await refused(house, run_id) == (
        "step s5: $steps.s0.outputs.id, and s0 was not done;"
        " step s5: $steps.s1.outputs.total, and s1 gave id"
    )
    look = await desk(house).look(run_id, Migration(to=2))
    assert look.passed_over == ["s0"]
    assert any(
        change.what.startswith("it is new") or "s0" in change.where for change in look.changes
    )


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("s9", "step s9: version 2 has none"),
        ("s1", "step s1: done already"),
    ],
)
async def test_where_it_may_go_on(house: House, step: str, found: str) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer())
    assert found in await refused(house, run_id, step=step)


async def test_pivots_keep_their_promise(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    after = shop_plan([(Kind.KEYED, None)] * 2 + [(Kind.KEYED, None)], pivot=0)
    await publish(house, after)
    assert await refused(house, run_id, step="s3") == "step s3: behind the pivot of version 2 (s1)"
    passed = await house.submit(waiting_plan(pivot=0), "o-2")
    await house.work()
    assert "not behind the pivot of version 1 (none)" in await refused(house, passed, to=1)
    await publish(house, newer())
    assert "not behind the pivot" in await refused(house, passed, to=4)


async def test_inputs_have_to_fit(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    schema = {"type": "object", "required": ["customer"]}
    await publish(house, newer(inputs_schema=schema))
    assert "inputs/: 'customer' is a required property" in await refused(house, run_id)


async def test_an_answer_that_has_come_is_heard(house: House) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer(outputs={}))
    await send(house, run_id)
    assert await refused(house, run_id, step="s3") == "step s2: answered by bank"
    await move(house, run_id)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert await checked(house, run_id) == ["s1", "s3", "s4"]


async def test_other_runs_are_not_moved(house: House) -> None:
    run_id = await house.submit(waiting_plan())
    await publish(house, newer())
    assert await refused(house, run_id) == f"run {run_id}: pending, going forward"
    await house.work()
    assert f"run {run_id}: version 1" in await refused(house, run_id, to=1)
    with pytest.raises(NotFound, match="version"):
        await move(house, run_id, to=9)
    await registered(house.store, "somebody")
    await house.pass_time()
    await house.store.claim([(run_id, (await house.store.run(run_id)).epoch)], owner="somebody")
    assert "in the hands of somebody" in await refused(house, run_id)


async def test_what_somebody_wrote_meanwhile_comes_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await waits(house, waiting_plan())
    await publish(house, newer())
    now = house.store.now

    async def answered() -> datetime:
        await send(house, run_id)
        return await now()

    monkeypatch.setattr(house.store, "now", answered)
    with pytest.raises(Conflict, match="audit record"):
        await move(house, run_id)
    assert (await house.store.run(run_id)).version == 1


async def test_many_are_looked_at(house: House) -> None:
    first = await waits(house, waiting_plan())
    second = await house.submit(waiting_plan(pivot=0), "o-2")
    await house.work()
    await publish(house, newer())
    reruns = Rerunning(house.store, house.programs, house.broker, new_id=new_id)
    kinds = job_kinds(
        house.store, house.programs, house.broker, house.redeliverer, house.escalations,
        new_id=new_id,
    )  # fmt: skip
    checking = CheckingRuns(house.store, kinds, desk(house), reruns)
    found = await checking.check("migrate", RunFilter(workflow="order"), {"version": 3})
    assert (found.fit, found.looked_at, found.can) == (2, 2, 1)
    assert [each.run_id for each in found.refused] == [second]
    with pytest.raises(InvalidInput, match="cannot be tried"):
        await checking.check("cancel", RunFilter(workflow="order"), {})
    await desk(house).migrate(first, Migration(to=3), by="ada", reason="r")
