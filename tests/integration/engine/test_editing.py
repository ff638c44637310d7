"""Edits of a step that has not begun: checked, confirmed, sent; or refused since it has begun."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import Conflict, InvalidInput, NotAllowed
from orchestrator.ports import Role
from tests.integration.engine.checking import check
from tests.integration.engine.house import House
from tests.integration.engine.test_four_eyes import Desk
from tests.integration.engine.test_waits import send, waiting_plan
from tests.integration.engine.world import Fate
from tests.store.making import registered

PAYLOAD = {
    "to": "$inputs.order", "n": 1, "of": "$steps.s1.outputs.id", "note": "for {$inputs.order}",
    "answer": "$steps.s2.outputs.n", "deep": [{"flag": True}],
}  # fmt: skip


def plan() -> Plan:
    """s1, a wait for a signal, and s3, which sends a payload."""
    base = waiting_plan()
    last = base.steps[2]
    body = {"contentType": "application/json", "payload": PAYLOAD}
    call = replace(last.call, template={**last.call.template, "requestBody": body})
    return with_digest(replace(base, steps=(*base.steps[:2], replace(last, call=call))))


async def waiting(house: House) -> str:
    run_id = await house.submit(plan())
    await house.work()
    assert (await house.store.run(run_id)).status is RunStatus.WAITING
    return run_id


async def edited(house: House, run_id: str, **values: Any) -> None:
    desk = Desk(house)
    made = await desk.editing.propose(
        run_id, "s3", values, by="ada", reason="they have moved", via="cli"
    )
    await desk.proposals.confirm(made.id, by="bob", via="cli")


async def test_a_confirmed_edit_is_what_is_sent_whoever_sends_it(house: House) -> None:
    run_id = await waiting(house)
    await edited(house, run_id, **{"to": "o-9", "/deep/0/flag": False})
    await edited(house, run_id, n=2.5)
    row = await house.store.run(run_id)
    assert row.edits == {"s3": {"to": "o-9", "/deep/0/flag": False, "n": 2.5}}
    await send(house, run_id)
    house.shop.will("o-1", "s3", Fate.LOST)
    run = await house.settle(run_id)
    assert run.status is RunStatus.SUCCEEDED
    bodies = [json.loads(sent.body) for sent in house.shop.sent if sent.name == "s3"]
    assert len(bodies) >= 1
    for body in bodies:
        assert (body["to"], body["n"], body["deep"]) == ("o-9", 2.5, [{"flag": False}])
        assert body["note"] == "for o-1", "the inputs are what they were"
    audit = await house.store.audit(run_id)
    told = [each for each in audit if each.kind == "run.edited"]
    assert [(each.actor, each.data["confirmed_by"]) for each in told] == [("ada", "bob")] * 2
    assert told[0].data["values"] == ["/deep/0/flag", "to"]
    await check(house, run_id)


async def test_what_lies_ahead_is_told_with_what_would_be_sent(house: House) -> None:
    run_id = await waiting(house)
    desk = Desk(house)
    (s3,) = (await desk.editing.ahead(run_id)).values()
    now = {each.name: each.now for each in s3}
    assert {name: now[name] for name in PAYLOAD} == {
        "to": "o-1", "n": 1, "of": now["of"], "note": "for o-1", "answer": ABSENT,
        "deep": [{"flag": True}],
    }  # fmt: skip
    assert next(each for each in s3 if each.name == "answer").planned == PAYLOAD["answer"]
    await edited(house, run_id, n=7)
    assert [e.now for e in (await desk.editing.ahead(run_id))["s3"] if e.name == "n"] == [7]
    await send(house, run_id)
    await house.settle(run_id)
    assert await desk.editing.ahead(run_id) == {}


async def test_nothing_that_is_secret_is_told(house: House) -> None:
    secret = {"type": "object", "properties": {"order": {"type": "string", "format": "password"}}}
    run_id = await house.submit(with_digest(replace(plan(), inputs_schema=secret)))
    await house.work()
    (s3,) = (await Desk(house).editing.ahead(run_id)).values()
    assert {each.name for each in s3 if each.name in PAYLOAD} == {"n", "of", "answer", "deep"}
    assert "o-1" not in str([each.now for each in s3])


async def test_the_step_has_begun(house: House) -> None:
    run_id = await waiting(house)
    desk = Desk(house)
    with pytest.raises(Conflict, match="the step has begun"):
        await desk.editing.propose(run_id, "s1", {"order": "x"}, by="ada", reason="r", via="cli")
    made = await desk.editing.propose(run_id, "s3", {"n": 2}, by="ada", reason="r", via="cli")
    await send(house, run_id)
    await house.settle(run_id)
    with pytest.raises(Conflict):
        await desk.proposals.confirm(made.id, by="bob", via="cli")
    assert (await house.store.run(run_id)).edits == {}


async def test_a_run_in_somebodys_hands_is_to_be_paused_first(house: House) -> None:
    run_id = await waiting(house)
    desk = Desk(house)
    made = await desk.editing.propose(run_id, "s3", {"n": 2}, by="ada", reason="r", via="cli")
    receipt = await send(house, run_id)
    await registered(house.store, "worker-x")
    (taken,) = await house.store.claim([(run_id, receipt.redelivery.epoch)], owner="worker-x")
    assert taken.run.edits == {}
    with pytest.raises(Conflict, match="pause it first"):
        await desk.proposals.confirm(made.id, by="bob", via="cli")
    assert (await desk.proposals.show(made.id)).is_open


async def test_an_edit_races_a_claim(house: House) -> None:
    await race(house)


@pytest.mark.postgres
async def test_an_edit_races_a_claim_on_a_server(postgres_house: House) -> None:
    await race(postgres_house)


async def race(house: House) -> None:
    """Either the claim has the values, or nobody was told that it would."""
    run_id = await waiting(house)
    desk = Desk(house)
    made = await desk.editing.propose(run_id, "s3", {"n": 2}, by="ada", reason="r", via="cli")
    receipt = await send(house, run_id)
    await registered(house.store, "worker-x")
    claim = house.store.claim([(run_id, receipt.redelivery.epoch)], owner="worker-x")
    told, claimed = await asyncio.gather(
        desk.proposals.confirm(made.id, by="bob", via="cli"), claim, return_exceptions=True
    )
    assert not isinstance(claimed, BaseException)
    (taken,) = claimed
    assert (taken.run.edits == {"s3": {"n": 2}}) is not isinstance(told, Conflict)


async def test_who_may(house: House) -> None:
    run_id = await waiting(house)
    desk = Desk(house)
    made = await desk.editing.propose(run_id, "s3", {"n": 2}, by="ada", reason="r", via="cli")
    with pytest.raises(NotAllowed):
        await desk.proposals.confirm(made.id, by="bob", via="rest", role=Role.OPERATOR)
    await desk.proposals.confirm(made.id, by="bob", via="rest", role=Role.APPROVER)


@pytest.mark.parametrize(
    ("step", "values", "place", "wanted"),
    [
        ("s9", {"n": 2}, "step", "one of: s1, s2, s3"),
        ("s3", {}, "set", "at least one value"),
        ("s3", {"no": 2}, "step s3, no", "one of: order, answer, deep, n, note, of, to"),
        ("s3", {"/deep/1/flag": 2}, "step s3, /deep/1/flag", "one of"),
        ("s3", {"/a~2": 2}, "step s3, /a~2", "'~' in a JSON pointer"),
        ("s3", {"to": 5}, "step s3, to", "type string"),
        ("s3", {"n": "2"}, "step s3, n", "a number"),
        ("s3", {"n": True}, "step s3, n", "a number"),
        ("s3", {"of": 3}, "step s3, of", "a text"),
        ("s3", {"note": ["x"]}, "step s3, note", "a text"),
        ("s3", {"to": "$inputs.order"}, "step s3, to", "a value: it is sent as it stands"),
        ("s3", {"to": "x{$inputs.order}"}, "step s3, to", "a value: it is sent as it stands"),
        ("s3", {"deep": [{"x-first-of": ["$inputs.a"]}]}, "step s3, deep", "a value"),
        ("s2", {"signal": "other"}, "step s2", "a step that sends something"),
        ("s3", {"answer": "x" * 20_000}, "set", "at most 10,000"),
    ],
)
async def test_values_that_do_not_fit(
    house: House, step: str, values: dict[str, Any], place: str, wanted: str
) -> None:
    run_id = await waiting(house)
    with pytest.raises(InvalidInput) as refused:
        await Desk(house).editing.propose(run_id, step, values, by="ada", reason="r", via="cli")
    (problem,) = refused.value.problems
    assert problem.place == place
    assert wanted in problem.wanted
