"""What people are told before they decide, and what they can give a step that they vouch for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan_json import with_digest
from orchestrator.core.severity import Severity
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, InvalidInput
from orchestrator.ports import EscalationRecord
from orchestrator.service.briefing import Briefings, curl_of
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)
UNKEYED = (Kind.UNKEYED, Kind.KEYED)


def _v1(api: str) -> str:
    return f"https://{api}.example/v1/"


async def in_doubt(house: House) -> EscalationRecord:
    """The second of three steps may have happened."""
    run_id = await house.submit(shop_plan([KEYED, UNKEYED, KEYED]))
    house.shop.will("o-1", "s2", Fate.UNSEEN)
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (record,) = await house.store.escalations_of(run_id)
    return record


async def test_later_steps_and_the_undo_use_what_a_person_says_it_gave(house: House) -> None:
    record = await in_doubt(house)
    await house.escalations.resolve(
        record.id, by="ada", reason="it is there", outputs={"id": "by-hand"}
    )
    house.shop.will("o-1", "s3", Fate.REFUSED)
    run = await house.settle(record.run_id)
    assert run.status is RunStatus.COMPENSATED
    steps = await house.store.steps(record.run_id)
    assert steps[1].forward.outputs == {"id": "by-hand"}
    (undo,) = [sent for sent in house.shop.sent if sent.name == "s2.undo"]
    assert json.loads(undo.body) == {"id": "by-hand"}
    audit = await house.store.audit(record.run_id)
    (told,) = [each.data for each in audit if each.kind == "operator.resolved"]
    assert told["outputs"] == ["id"]


@pytest.mark.parametrize(
    ("outputs", "place"),
    [
        ({"id": "x", "color": "red"}, "outputs /color"),
        ({"blob": "x" * (1024 * 1024)}, "outputs"),
    ],
)
async def test_outputs_that_are_refused(house: House, outputs: dict[str, str], place: str) -> None:
    record = await in_doubt(house)
    with pytest.raises(InvalidInput) as refused:
        await house.escalations.resolve(record.id, by="ada", reason="r", outputs=outputs)
    assert [each.place for each in refused.value.problems] == [place]
    assert (await house.store.escalation(record.id)).closed_at is None


async def test_what_did_nothing_and_an_undo_give_nothing(house: House) -> None:
    record = await in_doubt(house)
    with pytest.raises(InvalidInput, match="only a step that was done"):
        await house.escalations.resolve(
            record.id, by="ada", reason="r", landed=False, outputs={"id": "x"}
        )
    await house.escalations.resolve(record.id, by="ada", reason="r", landed=False)
    house.shop.will("o-2", "s2", Fate.REFUSED)
    house.shop.will("o-2", "s1.undo", Fate.REFUSED)
    run_id = await house.submit(shop_plan([KEYED, KEYED]), "o-2")
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (stuck,) = await house.store.escalations_of(run_id)
    with pytest.raises(InvalidInput, match="a step going backward"):
        await house.escalations.resolve(stuck.id, by="ada", reason="r", outputs={"id": "x"})
    assert stuck.api == "shop"


async def test_an_escalation_is_as_bad_as_its_workflow_says(house: House) -> None:
    rules = {"rules": [{"severity": "critical", "minutes": 5}]}
    plan = with_digest(replace(shop_plan([KEYED, UNKEYED]), escalation=rules))
    house.shop.will("o-1", "s2", Fate.UNSEEN)
    run = await house.submit(plan, "o-1")
    await house.settle(run)
    (opened,) = await house.store.escalations_of(run)
    urgency = house.escalations.urgency
    assert (opened.severity, urgency.severity(opened)) == (Severity.CRITICAL,) * 2
    assert urgency.due_at(opened) - opened.opened_at == timedelta(minutes=5)


async def test_a_briefing(house: House) -> None:
    record = await in_doubt(house)
    plan = shop_plan([KEYED, UNKEYED, KEYED])
    house.shop.will("o-2", "s2", Fate.UNSEEN)
    other = await house.submit(plan, "o-2")
    await house.settle(other)
    (alike,) = await house.store.escalations_of(other)
    briefings = Briefings(house.store, house.programs, _v1, house.escalations)
    told = await briefings.of(record.id)
    assert (told.severity, told.comments) == (Severity.HIGH, ())
    assert told.due_at - told.escalation.opened_at == timedelta(hours=1)
    (remark,) = await house.escalations.comment(record.id, " the bank called ", by="eve")
    assert (remark.by, remark.text) == ("eve", "the bank called")
    assert (await briefings.of(record.id)).comments == (remark,)
    assert (told.similar, told.similar_ids) == (1, (alike.id,))
    choices = {each.name: each for each in told.choices}
    assert [link.step for link in choices["resolve"].links] == ["s3"]
    assert choices["resolve without effect"].status is RunStatus.COMPENSATED
    assert choices["skip"].refused is not None
    assert choices["abandon"].standing == ("s1",), "the second one is not known to stand"
    assert told.look is None, "a POST to a collection has no address of its own"

    await house.escalations.abandon(record.id, by="ada", reason="r")
    closed = await briefings.of(record.id)
    assert closed.choices == ()
    with pytest.raises(Conflict, match="closed \\(abandoned\\) by ada"):
        await house.escalations.retry(record.id, by="bob", reason="r")


async def test_where_to_look(house: House) -> None:
    house.shop.will("o-1", "s2", Fate.REFUSED)
    house.shop.will("o-1", "s1.undo", Fate.REFUSED)
    run_id = await house.submit(shop_plan([KEYED, KEYED]))
    await house.settle(run_id)
    (record,) = await house.store.escalations_of(run_id)
    known = Briefings(house.store, house.programs, _v1, house.escalations)
    told = await known.of(record.id)
    assert told.look == "curl -sS https://shop.example/v1/orders/o-1/s1"
    unknown = Briefings(house.store, house.programs, lambda _: None, house.escalations)
    assert (await unknown.of(record.id)).look is None


async def test_a_verification_says_where_to_look(house: House) -> None:
    house.shop.will("o-1", "s1", *[Fate.UNSEEN] * 4)
    house.shop.will("o-1", "?s1", *[Fate.LOST] * 9)
    run_id = await house.submit(shop_plan([(Kind.VERIFIED, Kind.KEYED)]))
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (record,) = await house.store.escalations_of(run_id)
    briefings = Briefings(house.store, house.programs, _v1, house.escalations)
    told = await briefings.of(record.id)
    assert told.look == "curl -sS https://shop.example/v1/orders/o-1/s1/do"


def test_a_command_hides_secrets_and_is_quoted() -> None:
    request = FrozenRequest(
        method="PUT", target="/a%20b?api_key=s3cret&q=it's", body=b'{"a": 1}',
        headers=(("Cookie", "s3cret"), ("X-Trace", "1")),
    )  # fmt: skip
    told = curl_of(request, "https://shop.example/v1")
    assert "s3cret" not in told
    assert "-X PUT" in told
    assert "'{\"a\": 1}'" in told
    assert "https://shop.example/v1/a%20b?api_key=%5Bhidden%5D&q=it%27s" in told


async def stuck_undo(house: House) -> EscalationRecord:
    """The undo of the first of two steps is refused."""
    house.shop.will("o-1", "s2", Fate.REFUSED)
    house.shop.will("o-1", "s1.undo", Fate.REFUSED)
    run_id = await house.submit(shop_plan([KEYED, KEYED]))
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    (record,) = await house.store.escalations_of(run_id)
    return record


async def test_a_corrected_retry_is_another_request(house: House) -> None:
    record = await stuck_undo(house)
    await house.escalations.retry(
        record.id, by="ada", reason="it was renamed", corrections={"/id": "s1-new"}
    )
    assert (await house.settle(record.run_id)).status is RunStatus.COMPENSATED
    first, second = [sent for sent in house.shop.sent if sent.name == "s1.undo"]
    assert (json.loads(first.body), json.loads(second.body)) == ({"id": "s1"}, {"id": "s1-new"})
    assert first.key != second.key
    assert house.shop.other_bytes == [], "no key came with another request"
    audit = await house.store.audit(record.run_id)
    (told,) = [each.data for each in audit if each.kind == "operator.retried"]
    assert told["corrected"] == ["/id"]


@pytest.mark.parametrize(
    ("corrections", "place", "found"),
    [
        ({"/color": "red"}, "body /color", "nothing there"),
        ({"id": "x"}, "body id", "nothing there"),
        ({"/id/deeper": "x"}, "body /id/deeper", "nothing there"),
        ({"/id": 7}, "body /id", "a number"),
        ({"": {}}, "body ", "nothing there"),
    ],
)
async def test_corrections_that_are_refused(
    house: House, corrections: dict[str, object], place: str, found: str
) -> None:
    record = await stuck_undo(house)
    with pytest.raises(InvalidInput) as refused:
        await house.escalations.retry(record.id, by="ada", reason="r", corrections=corrections)
    (problem,) = refused.value.problems
    assert (problem.place, problem.found) == (place, found)
    assert (await house.store.escalation(record.id)).closed_at is None


async def test_what_may_have_happened_is_not_corrected(house: House) -> None:
    record = await in_doubt(house)
    with pytest.raises(Conflict, match="might do it twice"):
        await house.escalations.retry(record.id, by="ada", reason="r", corrections={"/x": 1})
    assert house.shop.times("o-1", "s2") == 1
