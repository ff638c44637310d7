"""Runs under the rule of four eyes: what one person decides waits for a second person."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, NotAllowed
from orchestrator.ports import (
    PROPOSED,
    Decision,
    EscalationFilter,
    JobItemState,
    ProposalFilter,
    Role,
    Subject,
    WaitOutcome,
)
from orchestrator.service.editing import Editing
from orchestrator.service.escalation_jobs import escalation_jobs
from orchestrator.service.escalations import Escalations
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.jobs import Jobs, JobWorker
from orchestrator.service.proposals import Proposals
from orchestrator.service.waiting import Waiting
from tests.integration.engine.house import House
from tests.integration.engine.test_waits import waiting_plan
from tests.integration.engine.world import Fate, Kind, shop_plan
from tests.store.making import new_id

KEYED = (Kind.KEYED, Kind.KEYED)
UNKEYED = (Kind.UNKEYED, Kind.KEYED)


class Desk:
    """The services on the house's store, as a deployment has them."""

    def __init__(self, house: House) -> None:
        self.house = house
        four_eyes = FourEyes(house.store, house.programs, new_id=new_id)
        self.escalations = Escalations(
            house.store, house.broker, house.programs, house.redeliverer, four_eyes=four_eyes
        )
        self.waiting = Waiting(
            house.store, house.redeliverer, max_data_bytes=1000, four_eyes=four_eyes
        )
        self.editing = Editing(
            house.store, house.store, house.programs, four_eyes, max_bytes=10_000
        )
        self.proposals = Proposals(
            house.store, house.store, self.escalations, self.waiting, self.editing
        )

    async def stuck(self, plan: Plan, order: str = "o-1") -> str:
        """An escalation: the second step may have happened."""
        run_id = await self.house.submit(plan, order)
        self.house.shop.will(order, "s2", Fate.UNSEEN)
        assert (await self.house.settle(run_id)).status is RunStatus.ESCALATED
        (record,) = await self.house.store.escalations_of(run_id)
        return record.id


def under(plan: Plan, **rule: Any) -> Plan:
    return with_digest(replace(plan, four_eyes={"hours": 1, **rule}))


PLAN = under(shop_plan([KEYED, UNKEYED, KEYED]))


async def test_a_decision_waits_for_a_second_person(house: House) -> None:
    desk = Desk(house)
    known = await desk.stuck(PLAN)
    status = await desk.escalations.resolve(
        known, by="ada", reason="it is there", outputs={"id": "by-hand"}
    )
    assert status is RunStatus.ESCALATED
    (made,) = await desk.proposals.list()
    assert (made.act, made.arguments) == (
        "resolved", {"landed": True, "outputs": {"id": "by-hand"}},
    )  # fmt: skip
    with pytest.raises(Conflict, match="nobody confirms what they have proposed"):
        await desk.proposals.confirm(made.id, by="ada", via="cli")
    with pytest.raises(NotAllowed):
        await desk.proposals.confirm(made.id, by="bob", via="rest", role=Role.VIEWER)
    with pytest.raises(Conflict, match="somebody has proposed something"):
        await desk.escalations.abandon(known, by="bob", reason="no use")
    confirmed = await desk.proposals.confirm(made.id, by="bob", via="cli", reason="I see it too")
    assert confirmed.run_status is RunStatus.RUNNING
    house.shop.will("o-1", "s3", Fate.REFUSED)
    assert (await house.settle(made.run_id)).status is RunStatus.COMPENSATED
    (undo,) = [sent for sent in house.shop.sent if sent.name == "s2.undo"]
    assert json.loads(undo.body) == {"id": "by-hand"}
    audit = await house.store.audit(made.run_id)
    (told,) = [each for each in audit if each.kind == "operator.resolved"]
    assert (told.actor, told.data["confirmed_by"]) == ("ada", "bob")


async def test_the_same_call_once_more_needs_nobody_else(house: House) -> None:
    desk = Desk(house)
    known = await desk.stuck(PLAN)
    assert await desk.escalations.retry(known, by="ada", reason="r") is RunStatus.RUNNING


async def test_by_amount(house: House) -> None:
    desk = Desk(house)
    plan = under(shop_plan([KEYED, UNKEYED]), when="$inputs.order == 'o-large'")
    small, large = await desk.stuck(plan, "o-small"), await desk.stuck(plan, "o-large")
    ended = await desk.escalations.abandon(small, by="ada", reason="r")
    waits = await desk.escalations.abandon(large, by="ada", reason="r")
    assert (ended, waits) == (RunStatus.ABANDONED, RunStatus.ESCALATED)


async def test_without_a_place_for_proposals_nobody_decides_alone(house: House) -> None:
    known = await Desk(house).stuck(PLAN)
    with pytest.raises(Exception, match="a second person is needed"):
        await house.escalations.abandon(known, by="ada", reason="r")
    assert (await house.store.escalation(known)).closed_at is None


async def test_a_job_proposes(house: House) -> None:
    desk = Desk(house)
    free = shop_plan([KEYED, UNKEYED])
    for order, plan in (("o-1", PLAN), ("o-2", free), ("o-3", PLAN)):
        await desk.stuck(plan, order)
    kinds = escalation_jobs(desk.escalations)
    jobs = Jobs(house.store, house.broker, kinds, new_id=new_id)
    worker = JobWorker(house.store, house.broker, house.redeliverer, house.broker, kinds)
    which = EscalationFilter(reason="in_doubt")
    job = await jobs.start("escalations.abandon", which, by="ada", reason="the shop is closed")
    await worker.work(job.id, job.turn)
    done = await jobs.show(job.id)
    assert (done.done, done.proposed, done.refused) == (3, 2, 0)
    outcomes = [each.outcome for each in await jobs.items(job.id, state=JobItemState.DONE)]
    assert outcomes.count(PROPOSED) == 2
    proposals = await desk.proposals.list()
    assert [(each.proposed_by, each.via) for each in proposals] == [("ada", "job")] * 2
    own = await jobs.start("escalations.confirm", which, by="ada", reason="sure")
    await worker.work(own.id, own.turn)
    assert (await jobs.show(own.id)).refused == 2, "nobody confirms their own, in bulk neither"
    second = await jobs.start("escalations.confirm", which, by="bob", reason="it is closed")
    await worker.work(second.id, second.turn)
    over = await jobs.show(second.id)
    assert (over.done, over.proposed, over.refused) == (2, 0, 0)
    for each in proposals:
        assert (await house.store.run(each.run_id)).status is RunStatus.ABANDONED
        assert (await desk.proposals.show(each.id)).closed_by == "bob"


async def test_two_approve(house: House) -> None:
    desk = Desk(house)
    plan = under(replace(waiting_plan(approval=True), outputs={"by": "$steps.s2.outputs.by"}))
    run_id = await house.submit(plan)
    await house.work()
    (wait,) = await house.store.waits_of(run_id)
    yes = Decision.APPROVED
    first = await desk.waiting.decide(wait.id, yes, by="ada", via="cli", data={"limit": 5})
    assert first.is_open
    with pytest.raises(Conflict, match="nobody confirms"):
        await desk.waiting.decide(wait.id, yes, by="ada", via="link")
    with pytest.raises(Conflict, match="approve the same or nothing"):
        await desk.waiting.decide(wait.id, yes, by="bob", via="link", data={"limit": 9})
    second = await desk.waiting.decide(wait.id, yes, by="bob", via="link")
    assert second.outcome is WaitOutcome.APPROVED
    assert second.answer is not None
    assert (second.answer["by"], second.answer["confirmed_by"]) == ("ada", "bob")
    assert second.answer["data"] == {"limit": 5}
    run = await house.settle(run_id)
    assert (run.status, run.outputs) == (RunStatus.SUCCEEDED, {"by": "ada"})


async def test_one_rejection_is_enough_and_overtakes_the_first_approval(house: House) -> None:
    desk = Desk(house)
    run_id = await house.submit(under(waiting_plan(approval=True)))
    await house.work()
    (wait,) = await house.store.waits_of(run_id)
    await desk.waiting.decide(wait.id, Decision.APPROVED, by="ada", via="cli")
    (made,) = await desk.proposals.list(ProposalFilter(subject=Subject.APPROVAL))
    await desk.waiting.decide(wait.id, Decision.REJECTED, by="bob", via="cli", reason="too much")
    assert await desk.proposals.list() == []
    with pytest.raises(Conflict):
        await desk.proposals.confirm(made.id, by="eve", via="cli")
    assert (await house.settle(run_id)).status is RunStatus.COMPENSATED
