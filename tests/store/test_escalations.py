"""Dead letters: opened once, claimed by one, closed by one, and the run goes on or ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import Severity
from orchestrator.core.states import Direction, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import ClaimedRun, EscalationFilter, RunWrite, Store, hop_ids
from orchestrator.service.urgency import Urgency
from tests.store.backends import Backend
from tests.store.making import (
    ME,
    YOU,
    audit,
    claimed,
    escalated,
    escalation,
    landed,
    new_id,
    registered,
    write,
)


async def test_an_escalation_is_there_with_its_context(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    found = await store.escalation(escalation_id)
    assert (found.run_id, found.workflow, found.tenant) == (run.run.id, "order", "default")
    assert (found.reason, found.detail) == (EscalationReason.COMPENSATION_FAILED, "412")
    assert (found.step, found.step_id, found.direction) == (1, "s2", Direction.BACKWARD)
    assert found.context == {"undone": ["s2"]}
    assert found.claimed_by is found.closed_at is found.resolution is None
    assert await store.escalations() == [found]
    assert await store.escalations_of(run.run.id) == [found]
    assert await store.open_unclaimed() == [escalation_id]
    assert await store.escalation(escalation_id[-8:]) == found


async def test_a_run_has_one_open_escalation_at_most(store: Store) -> None:
    (run,) = await claimed(store)
    for _ in range(2):
        await store.record([write(run, escalation=escalation())])
    assert len(await store.escalations_of(run.run.id)) == 1


async def test_an_escalation_without_a_step(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, status=RunStatus.ESCALATED, escalation=escalation(None))])
    (found,) = await store.escalations()
    assert (found.step, found.step_id) == (None, None)


async def test_claim_and_release(store: Store) -> None:
    ((escalation_id, run), (beside, _)) = await escalated(store, 2)
    taken = await store.claim_escalation(escalation_id, by="ada")
    assert taken.claimed_by == "ada"
    assert taken.claimed_at is not None
    assert await store.open_unclaimed() == [beside]
    assert len(await store.escalations()) == 2
    with pytest.raises(Conflict, match="claimed by ada"):
        await store.claim_escalation(escalation_id, by="bob")

    back = await store.release_escalation(escalation_id, by="ada")
    assert back.claimed_by is back.claimed_at is None
    assert await store.open_unclaimed() == [escalation_id, beside]
    with pytest.raises(Conflict, match="claimed by nobody"):
        await store.release_escalation(escalation_id, by="ada")

    last = (await store.audit(run.run.id))[-2:]
    assert [(a.seq, a.kind, a.actor) for a in last] == [
        (2, "escalation.claimed", "ada"), (3, "escalation.released", "ada"),
    ]  # fmt: skip
    assert last[0].data == {"escalation": escalation_id}


async def test_one_of_many_claimers_wins(backend: Backend, store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    others = [backend.open() for _ in range(4)]
    answers = await asyncio.gather(
        *(others[n % 4].claim_escalation(escalation_id, by=f"p{n}") for n in range(20)),
        return_exceptions=True,
    )
    for each in others:
        await each.close()
    winners = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(a, Conflict) for a in answers if isinstance(a, BaseException))
    assert (await store.escalation(escalation_id)).claimed_by == winners[0].claimed_by
    assert len(await store.audit(run.run.id)) == 2


async def test_unknown_ones_are_not_found(store: Store) -> None:
    for call in (
        store.escalation(new_id()),
        store.claim_escalation(new_id(), by="ada"),
        store.release_escalation(new_id(), by="ada"),
        store.escalated_run(new_id()),
    ):
        with pytest.raises(NotFound):
            await call


def decision(run: ClaimedRun, **changes: Any) -> tuple[RunWrite, dict[str, Any]]:
    """A person's retry of an escalated run that was claimed once."""
    changes.setdefault("status", RunStatus.COMPENSATING)
    changes.setdefault("hinted", True)
    made = write(run, direction=Direction.BACKWARD, owner="", epoch=2, release=True, **changes)
    told = {"expected_epoch": 1, "resolution": "retried", "by": "ada", "reason": "fixed"}
    return made, told


async def test_an_act_closes_the_escalation_and_sends_the_run_on(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    record, with_run = await store.escalated_run(escalation_id[:30])
    assert record.id == escalation_id
    assert with_run.run == await store.run(run.run.id)
    assert len(with_run.steps) == 3
    assert with_run.run.settled_at is not None
    made, told = decision(
        run, links=(landed(1, Direction.BACKWARD),), audit=(audit(2, "operator.retried"),),
        progressed=True,
    )  # fmt: skip

    await store.act(escalation_id, made, **told)

    closed = await store.escalation(escalation_id)
    assert closed.closed_at is not None
    assert (closed.resolution, closed.closed_by, closed.closing_reason) == (
        "retried", "ada", "fixed",
    )  # fmt: skip
    assert await store.escalations() == []
    assert await store.open_unclaimed() == []
    assert len(await store.escalations(EscalationFilter(open_only=False))) == 1
    found = await store.run(run.run.id)
    assert (found.status, found.epoch, found.owner) == (RunStatus.COMPENSATING, 2, None)
    assert (found.settled_at, found.claims, found.hop_id) == (
        None,
        0,
        hop_ids(found.id, made.saga)[0],
    )
    assert (await store.steps(found.id))[1].undo.link == landed(1).link
    assert [a.kind for a in await store.audit(found.id)] == ["run.accepted", "operator.retried"]
    await registered(store, YOU)
    assert await store.claim([(found.id, 1)], owner=YOU) == []

    (again,) = await store.claim([(found.id, 2)], owner=YOU)
    second = write(again, status=RunStatus.ESCALATED, escalation=escalation(), release=True)
    await store.record([second])
    assert (await store.run(found.id)).settled_at is not None
    assert len(await store.escalations_of(found.id)) == 2


async def test_an_act_may_end_the_run(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    made, told = decision(run, status=RunStatus.ABANDONED, hinted=False)
    await store.act(escalation_id, made, **{**told, "resolution": "abandoned"})
    found = await store.run(run.run.id)
    assert (found.status, found.owner) == (RunStatus.ABANDONED, None)
    assert found.settled_at is not None
    assert await store.take_lost(silent_seconds=-1, limit=10) == []


async def test_an_act_may_escalate_again(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    made, told = decision(run, status=RunStatus.ESCALATED, hinted=False, escalation=escalation())
    await store.act(escalation_id, made, **told)
    first, second = await store.escalations_of(run.run.id)
    assert first.closed_at is not None
    assert second.closed_at is None


async def test_acts_number_their_audit_after_what_came_in_between(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    made, told = decision(run, audit=(audit(2, "operator.retried"), audit(3, "run.x")))
    await store.claim_escalation(escalation_id, by="bob")
    await store.act(escalation_id, made, **told)
    assert [(a.seq, a.kind) for a in await store.audit(run.run.id)] == [
        (1, "run.accepted"), (2, "escalation.claimed"), (3, "operator.retried"), (4, "run.x"),
    ]  # fmt: skip
    assert (await store.run(run.run.id)).audit_seq == 4


async def test_two_operators_at_once(backend: Backend, store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    others = [backend.open() for _ in range(3)]
    acts = []
    for n in range(12):
        made, told = decision(run, cause=f"by {n}", audit=(audit(2, f"operator.{n}"),))
        acts.append(others[n % 3].act(escalation_id, made, **{**told, "by": f"p{n}"}))
    answers = await asyncio.gather(*acts, return_exceptions=True)
    for each in others:
        await each.close()
    (winner,) = [n for n, answer in enumerate(answers) if answer == []]
    assert all(isinstance(answer, Conflict) for answer in answers if answer != [])
    assert (await store.run(run.run.id)).cause == f"by {winner}"
    assert (await store.escalation(escalation_id)).closed_by == f"p{winner}"
    assert [a.kind for a in await store.audit(run.run.id)][1:] == [f"operator.{winner}"]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"expected_epoch": 0}, id="an epoch that has passed"),
        pytest.param({"expected_epoch": 2}, id="an epoch to come"),
    ],
)
async def test_an_act_on_a_run_that_moved_on_changes_nothing(
    store: Store, spoil: dict[str, Any]
) -> None:
    ((escalation_id, run),) = await escalated(store)
    before = await store.run(run.run.id)
    made, told = decision(run, links=(landed(1),), audit=(audit(2),))
    with pytest.raises(Conflict, match="epoch 1"):
        await store.act(escalation_id, made, **{**told, **spoil})
    assert await store.run(run.run.id) == before
    assert (await store.escalation(escalation_id)).closed_at is None
    assert len(await store.audit(run.run.id)) == 1


async def test_an_act_on_a_closed_or_foreign_escalation(store: Store) -> None:
    ((first, run), (second, beside)) = await escalated(store, 2)
    made, told = decision(run)
    with pytest.raises(Conflict, match=run.run.id):
        await store.act(second, made, **told)
    await store.act(first, made, **told)
    with pytest.raises(Conflict, match="closed \\(retried\\) by ada"):
        await store.act(first, made, **told)
    with pytest.raises(Conflict, match="closed"):
        await store.claim_escalation(first, by="ada")
    with pytest.raises(NotFound):
        await store.act(new_id(), replace(made, run_id=beside.run.id), **told)
    assert (await store.run(beside.run.id)).status is RunStatus.ESCALATED


async def test_an_owned_run_is_not_acted_on(store: Store) -> None:
    (run,) = await claimed(store)
    opened = escalation()
    await store.record([write(run, escalation=opened)])
    made, told = decision(run)
    with pytest.raises(Conflict, match=f"owned by {ME}"):
        await store.act(opened.id, made, **told)


async def test_they_are_listed_oldest_first_up_to_a_limit(store: Store) -> None:
    opened = sorted(one for one, _ in await escalated(store, 5))
    assert [e.id for e in await store.escalations()] == opened
    assert [e.id for e in await store.escalations(EscalationFilter(limit=2))] == opened[:2]


async def test_pages_and_tenants(store: Store) -> None:
    opened = [known for known, _ in await escalated(store, 3)]
    assert [e.id for e in await store.escalations(EscalationFilter(after=opened[0]))] == opened[1:]
    assert [
        e.id for e in await store.escalations(EscalationFilter(after=opened[0], limit=1))
    ] == opened[1:2]
    assert [
        e.id for e in await store.escalations(EscalationFilter(tenant="default", open_only=False))
    ] == opened
    assert await store.escalations(EscalationFilter(tenant="another")) == []


async def test_a_decision_on_what_has_changed_since_is_refused(store: Store) -> None:
    ((escalation_id, run),) = await escalated(store)
    seen = await store.escalation(escalation_id)
    claimed_since = await store.claim_escalation(escalation_id, by="ada")
    going_on = replace(write(run, status=RunStatus.COMPENSATING), epoch=run.run.epoch + 1)
    decide = {
        "expected_epoch": run.run.epoch, "resolution": "retried", "by": "bob", "reason": "r"
    }  # fmt: skip
    with pytest.raises(Conflict, match="claimed by ada"):
        await store.act(escalation_id, going_on, seen=seen, **decide)
    assert await store.escalation(escalation_id) == claimed_since
    assert (await store.run(run.run.id)).status is RunStatus.ESCALATED
    await store.act(escalation_id, going_on, seen=claimed_since, **decide)
    assert (await store.escalation(escalation_id)).closed_by == "bob"


async def test_a_claim_may_end_by_itself(store: Store, other: Store) -> None:
    (one, run), (two, _) = await escalated(store, 2)
    taken = await store.claim_escalation(one, by="ada", for_seconds=-1)
    assert taken.claimed_until is not None
    later = await store.claim_escalation(two, by="ada", for_seconds=3600)
    assert later.claimed_until is not None
    assert later.claimed_at is not None
    assert later.claimed_until - later.claimed_at == timedelta(hours=1)
    found = await asyncio.gather(*(s.release_expired_claims() for s in [store, other] * 3))
    (back,) = [record for some in found for record in some]
    assert (back.id, back.claimed_by, back.claimed_at, back.claimed_until) == (one, *[None] * 3)
    assert await store.open_unclaimed() == [one]
    told = (await store.audit(run.run.id))[-1]
    assert (told.kind, told.actor, told.data["from"]) == ("escalation.claim_ended", "engine", "ada")
    await store.claim_escalation(one, by="bob")
    assert await store.release_expired_claims() == []


async def test_one_is_given_to_somebody(store: Store) -> None:
    ((known, run),) = await escalated(store)
    assert (await store.assign_escalation(known, to="bob", by="eve")).claimed_by == "bob"
    moved = await store.assign_escalation(known, to="ada", by="eve", for_seconds=60)
    assert (moved.claimed_by, moved.claimed_until is None) == ("ada", False)
    told = [(each.actor, each.data) for each in (await store.audit(run.run.id))[-2:]]
    assert told == [
        ("eve", {"escalation": known, "to": "bob", "from": None}),
        ("eve", {"escalation": known, "to": "ada", "from": "bob"}),
    ]
    stale = await store.assign_escalation(known, to="bob", by="eve", seen=moved)
    for late in (store.assign_escalation(known, to="eve", by="ada", seen=moved),
                 store.release_escalation(known, by="ada", seen=moved)):  # fmt: skip
        with pytest.raises(Conflict, match="as it was when it was read"):
            await late
    await store.release_escalation(known, by="bob", seen=stale)
    assert (await store.escalation(known)).claimed_until is None
    made, act = decision(run)
    await store.act(known, made, **act)
    with pytest.raises(Conflict, match="closed"):
        await store.assign_escalation(known, to="bob", by="eve")
    await store.comment_escalation(known, "the bank called", by="eve")
    remark = (await store.audit(run.run.id))[-1]
    assert (remark.kind, remark.data["text"]) == ("escalation.commented", "the bank called")
    for call in (store.assign_escalation(new_id(), to="a", by="b"),
                 store.comment_escalation(new_id(), "x", by="b")):  # fmt: skip
        with pytest.raises(NotFound):
            await call


async def test_what_is_due_first_comes_first(store: Store) -> None:
    (one, _), (two, _), (three, _) = await escalated(store, 3)
    seconds = {"compensation_failed": 3600.0}
    due = EscalationFilter(due_seconds=seconds, order_by_due=True)
    assert [e.id for e in await store.escalations(due)] == [one, two, three]
    for overdue, found in ((True, 0), (False, 3), (None, 3)):
        which = EscalationFilter(due_seconds=seconds, overdue=overdue)
        assert len(await store.escalations(which)) == found
    at_once = EscalationFilter(due_seconds={"compensation_failed": -1.0}, overdue=True)
    assert await store.count_things(at_once) == 3
    never = EscalationFilter(due_seconds={}, overdue=True, order_by_due=True)
    assert await store.escalations(never) == []
    other = EscalationFilter(due_seconds={"poisoned": 1.0}, overdue=False, order_by_due=True)
    assert len(await store.escalations(other)) == 3


async def test_what_a_workflow_says_of_it_goes_before_its_reason(store: Store) -> None:
    runs = await claimed(store, 3)
    told: list[dict[str, Any]] = [{"severity": Severity.LOW}, {"due_seconds": 1800.0}, {}]
    opened = [replace(escalation(), **each) for each in told]
    await store.record([
        write(run, status=RunStatus.ESCALATED, escalation=one, release=True)
        for run, one in zip(runs, opened, strict=True)
    ])  # fmt: skip
    low, soon, usual = (one.id for one in opened)
    found = [await store.escalation(one.id) for one in opened]
    assert [(each.severity, each.due_seconds) for each in found] == [
        (Severity.LOW, None), (None, 1800.0), (None, None),
    ]  # fmt: skip
    seconds = {"compensation_failed": 3600.0, "low": 7200.0}
    by_due = EscalationFilter(due_seconds=seconds, order_by_due=True)
    assert [each.id for each in await store.escalations(by_due)] == [soon, usual, low]
    late = EscalationFilter(due_seconds={"compensation_failed": 9.0, "low": -1.0}, overdue=True)
    assert [each.id for each in await store.escalations(late)] == [low]
    urgency = Urgency(due_minutes={Severity.LOW: 120})
    assert [urgency.severity(each) for each in found] == [
        Severity.LOW, Severity.HIGH, Severity.HIGH
    ]  # fmt: skip
    minutes = [(urgency.due_at(each) - each.opened_at).total_seconds() / 60 for each in found]
    assert minutes == [120, 30, 60]
    assert {each: urgency.due_seconds[each] for each in seconds} == seconds
