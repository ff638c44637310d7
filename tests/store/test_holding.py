"""Runs that a person has to approve before they begin: held with their acceptance, by one row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from orchestrator.core import journal
from orchestrator.core.events import CancelMode
from orchestrator.core.guarding import (
    EVERYBODY,
    MILLION,
    Asking,
    Charge,
    Duplicates,
    Policy,
    Stop,
    Threshold,
)
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import (
    Accepted,
    Agent,
    Decision,
    NewPause,
    NewPolicyChange,
    PolicyChangeKind,
    Redelivery,
    WaitOutcome,
)
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, SURVEYED, new_id, new_run, plan, published, registered
from tests.store.test_races import at_once

BOT, ALL = Agent("acme", "bot"), Agent("acme", EVERYBODY)
ABOVE_50 = (Threshold(of="EUR", most=50 * MILLION),)
BY = {"via": "cli", "data": {}}


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(url, pool_size=4)
    await registered(opened, ME)
    yield opened
    await opened.close()


async def policed(store: SqlStore, asking: Asking, agent: Agent = BOT, **rules: Any) -> None:
    await store.change_policy(
        NewPolicyChange(
            agent=agent, expected_version=0, kind=PolicyChangeKind.SET, by="ada", reason="why",
            policy=Policy(asking=asking, **rules),
        )
    )  # fmt: skip


async def wanted(
    store: SqlStore,
    euros: int = 60,
    *,
    under: Sequence[Agent] = (BOT,),
    intent: str = "",
    **changes: Any,
) -> Accepted:
    run = new_run(await published(store), tenant="acme", actor="bot", **changes)
    charge = Charge(
        run_id=run.id, workflow="order", amount=euros * MILLION, currency="EUR" if euros else "",
        intent=intent or run.id, key=run.idempotency_key,
    )  # fmt: skip
    (answer,) = await store.accept_guarded([run], [charge], {run.id: under})
    return answer


async def held(store: SqlStore, **asking: Any) -> str:
    await policed(store, Asking(above=ABOVE_50, **asking))
    found = await wanted(store)
    assert found.is_held
    return found.run_id


async def decide(
    store: SqlStore, run_id: str, decision: Decision = Decision.APPROVED, by: str = "ada"
) -> Redelivery | None:
    _, redelivery = await store.decide(run_id, decision, by=by, reason="so", **BY)
    return redelivery


async def status(store: SqlStore, run_id: str) -> RunStatus:
    return (await store.run(run_id)).status


async def goes_on(store: SqlStore, run_id: str) -> bool:
    """Whether a worker can have it; nobody but who decided has let it."""
    for freed in (await store.release_paused(), await store.take_due()):
        assert run_id not in [each.run_id for each in freed]
    epoch = (await store.run(run_id)).epoch
    return bool(await store.claim([(run_id, epoch)], owner=ME))


async def wish(store: SqlStore, run_id: str) -> tuple[str, str] | None:
    """What the audit says that somebody wants: who, and why."""
    found = [each for each in await store.audit(run_id) if each.kind == "run.cancel_requested"]
    return (found[-1].actor, found[-1].data["reason"]) if found else None


async def test_what_is_above_waits_for_a_person(store: SqlStore) -> None:
    await policed(store, Asking(above=ABOVE_50, roles=("operator",), requester=True))
    small, large = await wanted(store, 50), await wanted(store, 51)
    assert (small.is_held, large.is_held) == (False, True)
    assert await goes_on(store, small.run_id)
    assert not await goes_on(store, large.run_id)
    assert await status(store, large.run_id) is RunStatus.PAUSED
    (wait,) = await store.approvals()
    assert (wait.id, wait.run_id, wait.holds_the_run) == (large.run_id, large.run_id, True)
    assert (wait.asked["roles"], wait.asked["requester"]) == (["operator"], True)
    assert wait.asked["message"] == (
        "May bot begin a run of order? 51 EUR; wanted at most 50 EUR without a person's approval"
        " (policy of agent bot, approve)"
    )
    assert wait.asked["show"]["spends"] == "51 EUR"
    told = (await store.audit(large.run_id))[-1]
    assert (told.kind, told.data["why"]) == ("run.held", wait.asked["message"])
    assert journal.replay(plan(), told.data["events"]).status is RunStatus.PAUSED


async def test_approved_it_goes_on_at_once(store: SqlStore) -> None:
    run_id = await held(store)
    redelivery = await decide(store, run_id)
    assert redelivery is not None
    assert redelivery.run_id == run_id
    assert await status(store, run_id) is RunStatus.RUNNING
    assert await goes_on(store, run_id)
    assert await wish(store, run_id) is None
    events = [e for each in await store.audit(run_id) for e in each.data.get("events", ())]
    assert journal.replay(plan(), events).status is RunStatus.RUNNING
    with pytest.raises(Conflict, match="approved by ada"):
        await decide(store, run_id, Decision.REJECTED, by="bob")


async def test_rejected_it_goes_on_to_be_cancelled(store: SqlStore) -> None:
    run_id = await held(store)
    assert await decide(store, run_id, Decision.REJECTED) is not None
    assert await wish(store, run_id) == ("ada", "not approved by ada: so")
    assert await goes_on(store, run_id)


async def test_what_nobody_decides_in_time_is_cancelled(store: SqlStore) -> None:
    run_id = await held(store, seconds=0)
    assert (await store.survey(SURVEYED)).held
    (freed,) = await store.expire_holds()
    assert not (await store.survey(SURVEYED)).held
    assert freed.run_id == run_id
    assert (await store.wait(run_id)).outcome is WaitOutcome.EXPIRED
    assert await wish(store, run_id) == ("engine", "nobody approved it in time")
    assert await store.expire_holds() == []
    with pytest.raises(Conflict, match="expired"):
        await decide(store, run_id)


async def test_too_late_is_refused_before_it_is_found_expired(store: SqlStore) -> None:
    run_id = await held(store, seconds=0)
    with pytest.raises(Conflict, match="its time is over"):
        await decide(store, run_id)
    assert await status(store, run_id) is RunStatus.PAUSED


async def test_nobody_is_asked_for_longer_than_until_the_deadline(store: SqlStore) -> None:
    await policed(store, Asking(above=ABOVE_50, seconds=3600))
    short = await wanted(store, deadline_seconds=60.0)
    long = await wanted(store, deadline_seconds=7200.0)
    for run_id, seconds in ((short.run_id, 60), (long.run_id, 3600)):
        wait = await store.wait(run_id)
        assert wait.expires_at is not None
        assert round((wait.expires_at - wait.opened_at).total_seconds()) == seconds
    assert await store.expire_holds() == []


async def test_cancelled_it_is_not_asked_about_any_more(store: SqlStore) -> None:
    run_id = await held(store)
    redelivery = await store.request_cancel(
        run_id, mode=CancelMode.UNDO, reason="no", by="bot"
    )  # fmt: skip
    assert redelivery is not None
    assert (await store.wait(run_id)).outcome is WaitOutcome.WITHDRAWN
    assert await store.approvals() == []
    with pytest.raises(Conflict):
        await decide(store, run_id)


@pytest.mark.parametrize("stopped", [BOT, ALL])
async def test_of_an_agent_that_was_stopped_it_does_not_begin(
    store: SqlStore, stopped: Agent
) -> None:
    await policed(store, Asking(above=ABOVE_50))
    await policed(store, Asking(), ALL)
    run_id = (await wanted(store, under=(ALL, BOT))).run_id
    rules = Policy(stopped=Stop(by="eve", reason="mad", at="2026-11-29"))
    await store.change_policy(
        NewPolicyChange(
            agent=stopped, expected_version=1, kind=PolicyChangeKind.STOP, by="eve", reason="mad",
            policy=rules,
        )
    )  # fmt: skip
    with pytest.raises(Conflict, match="stopped by eve"):
        await decide(store, run_id)
    assert not await goes_on(store, run_id)
    assert await decide(store, run_id, Decision.REJECTED) is not None


async def test_a_pause_stops_it_although_it_was_approved(store: SqlStore) -> None:
    run_id = await held(store)
    pause = await store.pause(NewPause(id=new_id(), by="ada", reason="calm", tenant="acme"))
    assert await decide(store, run_id) is None
    assert await status(store, run_id) is RunStatus.PAUSED
    await store.end_pause(pause.id, by="ada", reason="over")
    (freed,) = await store.release_paused()
    assert freed.run_id == run_id


async def test_the_end_of_a_pause_does_not_let_it_begin(store: SqlStore) -> None:
    run_id = await held(store)
    pause = await store.pause(NewPause(id=new_id(), by="ada", reason="calm", run_id=run_id))
    await store.end_pause(pause.id, by="ada", reason="over")
    assert not await goes_on(store, run_id)


async def test_a_wish_that_was_there_is_asked_about(store: SqlStore) -> None:
    await policed(store, Asking(), duplicates=Duplicates(refuse=False, ask=True, seconds=60))
    first, again = await wanted(store, 0, intent="a"), await wanted(store, 0, intent="a")
    other = await wanted(store, 0, intent="b")
    assert (first.is_held, again.is_held, other.is_held) == (False, True, False)
    assert again.like == first.run_id
    assert first.run_id in (await store.wait(again.run_id)).asked["message"]


async def test_the_same_key_again_asks_nobody_again(store: SqlStore) -> None:
    await policed(store, Asking(above=ABOVE_50))
    first = await wanted(store, idempotency_key="k")
    again = await wanted(store, idempotency_key="k")
    assert (again.run_id, again.repeated, again.is_held) == (first.run_id, True, False)
    assert len(await store.approvals()) == 1


async def test_two_policies_ask_once_and_both_are_content(store: SqlStore) -> None:
    await policed(store, Asking(above=ABOVE_50, requester=True, seconds=60))
    await policed(store, Asking(above=ABOVE_50, roles=("admin",)), ALL)
    run_id = (await wanted(store, under=(ALL, BOT))).run_id
    (wait,) = await store.approvals()
    assert (wait.asked["roles"], wait.asked["requester"]) == (["admin"], False)
    assert wait.expires_at is not None
    assert len(wait.asked["show"]["why"]) == 2
    assert wait.run_id == run_id


async def test_of_all_who_end_it_at_once_one_does(url: str, store: SqlStore) -> None:
    run_id = await held(store)

    def deciding(number: int, decision: Decision) -> Callable[[SqlStore], Awaitable[Any]]:
        return lambda other: decide(other, run_id, decision, by=str(number))

    acts = [deciding(number, decision) for number, decision in enumerate([*Decision] * 2)]
    found = await asyncio.to_thread(at_once, url, acts)
    assert sum(isinstance(each, Redelivery) for each in found) == 1
    assert sum(isinstance(each, Conflict) for each in found) == 3
    outcome = (await store.wait(run_id)).outcome
    assert (await wish(store, run_id) is None) is (outcome is WaitOutcome.APPROVED)
