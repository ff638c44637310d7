"""Runs accepted under policies of agents: counted with the acceptance, exactly, by whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from orchestrator.core.guarding import (
    EVERYBODY,
    MILLION,
    RUNS,
    Budget,
    Charge,
    Duplicates,
    Period,
    Policy,
    Rate,
    Stop,
)
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, NotAllowed, Overloaded
from orchestrator.ports import (
    Accepted,
    Agent,
    NewPolicyChange,
    NewRun,
    PolicyChangeKind,
    RunFilter,
    WorkflowVersion,
)
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, new_run, published, registered, write
from tests.store.test_races import at_once

BOT, ALL = Agent("acme", "bot"), Agent("acme", EVERYBODY)
A_DAY = Policy(budgets=(Budget(of="EUR", most=100 * MILLION, per=Period.DAY),))


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(url, pool_size=4)
    yield opened
    await opened.close()


async def policed(store: SqlStore, policy: Policy, agent: Agent = BOT, version: int = 0) -> None:
    await store.change_policy(
        NewPolicyChange(
            agent=agent, expected_version=version, kind=PolicyChangeKind.SET, by="ada",
            reason="why", policy=policy,
        )
    )  # fmt: skip


def charge(run: NewRun, euros: int) -> Charge:
    currency = "EUR" if euros else ""
    return Charge(run_id=run.id, workflow=run.workflow, amount=euros * MILLION, currency=currency)


async def wished(
    store: SqlStore, version: WorkflowVersion, intent: str, **changes: Any
) -> Accepted:
    run = new_run(version, tenant="acme", actor="bot", **changes)
    its = Charge(run_id=run.id, workflow="order", key=run.idempotency_key, intent=intent)
    (answer,) = await store.accept_guarded([run], [its], {run.id: [BOT]})
    return answer


async def accept(
    store: SqlStore,
    version: WorkflowVersion,
    count: int = 1,
    euros: int = 0,
    *,
    under: Sequence[Agent] = (BOT,),
    **changes: Any,
) -> list[Accepted]:
    runs = [new_run(version, tenant="acme", actor="bot", **changes) for _ in range(count)]
    return await store.accept_guarded(
        runs, [charge(run, euros) for run in runs], {run.id: under for run in runs}
    )


async def spent(store: SqlStore, what: str = "EUR", agent: Agent = BOT) -> int:
    uses = await store.uses(agent)
    return uses.spent.get((what, Period.DAY.name_of(uses.now)), 0)


async def test_a_policy_is_kept_with_its_history(store: SqlStore) -> None:
    rules = Policy(
        allow=("order*",), deny=("x",), rates=(Rate(runs=1, seconds=60),), budgets=A_DAY.budgets,
        stopped=Stop(by="ada", reason="ž", at="2026"),
    )  # fmt: skip
    await policed(store, rules)
    await policed(store, A_DAY, ALL)
    found = await store.policies()
    assert [(each.agent, each.policy, each.version) for each in found] == [
        (EVERYBODY, A_DAY, 1), ("bot", rules, 1),
    ]  # fmt: skip
    with pytest.raises(Conflict):
        await policed(store, A_DAY)  # as if it had not been changed yet
    gone = NewPolicyChange(
        agent=BOT, expected_version=1, kind=PolicyChangeKind.REMOVE, by="bob", reason="over",
        policy=Policy(),
    )  # fmt: skip
    await store.change_policy(gone)
    assert [each.agent for each in await store.policies()] == [EVERYBODY]
    (record,) = await store.policies_of([BOT])
    assert (record.removed, record.policy, record.version) == (True, Policy(), 2)
    history = await store.policy_changes(BOT)
    assert [(each.kind, each.by, each.policy) for each in history] == [
        ("remove", "bob", Policy()), ("set", "ada", rules),
    ]  # fmt: skip


async def test_a_run_is_counted_as_it_is_accepted(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, A_DAY)
    (answer,) = await accept(store, version, euros=60)
    assert not answer.repeated
    assert (await store.run(answer.run_id)).status is RunStatus.PENDING
    assert (await spent(store), await spent(store, RUNS)) == (60 * MILLION, 1)
    with pytest.raises(NotAllowed) as refused:
        await accept(store, version, euros=41)
    (problem,) = refused.value.problems
    assert problem.place == "policy of agent bot of tenant acme, budgets"
    assert problem.found == "41 EUR beside 60 EUR of this day"
    assert problem.wanted.startswith("at most 100 EUR per day; passes at 2")
    assert len(await store.runs(RunFilter())) == 1, "nothing of what was refused is there"
    await accept(store, version, euros=40)
    assert await spent(store) == 100 * MILLION


async def test_the_same_key_again_is_not_counted_again(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, A_DAY)
    first = await accept(store, version, euros=100, idempotency_key="k")
    again = await accept(store, version, euros=100, idempotency_key="k")
    assert (again[0].run_id, again[0].repeated) == (first[0].run_id, True)
    assert await spent(store) == 100 * MILLION


async def test_many_at_once_are_accepted_as_a_whole_or_not_at_all(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, A_DAY)
    with pytest.raises(NotAllowed):
        await accept(store, version, count=11, euros=10)
    assert await store.runs(RunFilter()) == []
    assert len(await accept(store, version, count=10, euros=10)) == 10
    assert (await spent(store), await spent(store, RUNS)) == (100 * MILLION, 10)


async def test_a_run_is_under_the_tenants_policy_and_its_agents(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(budgets=(Budget(of=RUNS, most=1, per=Period.DAY),)), ALL)
    await policed(store, Policy())
    await accept(store, version, under=[ALL, BOT])
    with pytest.raises(NotAllowed, match=r"agent \* of tenant acme"):
        await accept(store, version, under=[ALL, BOT])
    assert (await spent(store, RUNS, ALL), await spent(store, RUNS)) == (1, 1)
    await accept(store, version)  # of the agent alone


async def test_a_rate_says_after_how_long_it_passes(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(rates=(Rate(runs=2, seconds=3600),)))
    await accept(store, version, count=2)
    with pytest.raises(Overloaded) as refused:
        await accept(store, version)
    assert 3500 < refused.value.retry_after_seconds <= 3600


async def test_who_was_stopped_or_may_not_is_refused_at_the_acceptance(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(deny=("ord*",)))
    with pytest.raises(NotAllowed, match="found workflow order"):
        await accept(store, version)
    await policed(store, Policy(stopped=Stop(by="ada", reason="mad", at="2026")), version=1)
    with pytest.raises(NotAllowed, match="stopped by ada"):
        await accept(store, version)
    assert await store.runs(RunFilter()) == []


@pytest.mark.parametrize(
    ("status", "given_back"),
    [(RunStatus.COMPENSATED, True), (RunStatus.SUCCEEDED, False), (RunStatus.ABANDONED, False)],
)
async def test_what_a_compensated_run_spent_is_given_back_once(
    store: SqlStore, status: RunStatus, *, given_back: bool
) -> None:
    version = await published(store)
    await policed(store, A_DAY)
    (answer,) = await accept(store, version, euros=100)
    await registered(store, ME)
    (run,) = await store.claim([(answer.run_id, 0)], owner=ME)
    assert await spent(store) == 100 * MILLION, "it has not ended"
    await store.record([write(run, status=status, release=True)])
    if given_back:
        await accept(store, version, euros=100)  # in time for the next one
    else:
        with pytest.raises(NotAllowed):
            await accept(store, version, euros=1)
    for _ in range(2):
        assert await spent(store) == 100 * MILLION
    assert await spent(store, RUNS) == (2 if given_back else 1), "the work was done"


async def repeats(store: SqlStore, run_id: str) -> list[Any]:
    return [r.data for r in await store.audit(run_id) if r.kind == "agent.repeated"]


async def test_the_same_wish_under_another_key_is_refused_and_recorded(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(duplicates=Duplicates(refuse=True, seconds=3600)))
    first = await wished(store, version, "a", idempotency_key="k1")
    for key in ("k2", "k3"):
        with pytest.raises(NotAllowed, match=f"found the same wish as run {first.run_id} of 2"):
            await wished(store, version, "a", idempotency_key=key)
    assert (await wished(store, version, "a", idempotency_key="k1")).repeated
    await wished(store, version, "b")
    assert [(each["refused"], each["key"]) for each in await repeats(store, first.run_id)] == [
        (True, "k2"), (True, "k3"),
    ]  # fmt: skip
    assert len(await store.runs(RunFilter())) == 2


async def test_where_a_policy_only_warns_the_answer_names_the_run(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(duplicates=Duplicates(refuse=False, seconds=3600)))
    first, again = [await wished(store, version, "a") for _ in range(2)]
    assert (first.like, again.like) == (None, first.run_id)
    (told,) = await repeats(store, first.run_id)
    assert (told["refused"], told["run"]) == (False, again.run_id)


async def test_a_wish_that_was_undone_or_is_long_past_may_be_had_again(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy(duplicates=Duplicates(refuse=True, seconds=3600)))
    first = await wished(store, version, "a")
    await registered(store, ME)
    (run,) = await store.claim([(first.run_id, 0)], owner=ME)
    await store.record([write(run, status=RunStatus.COMPENSATED, release=True)])
    await wished(store, version, "a")
    # That one counts, but not within so short a time.
    await policed(store, Policy(duplicates=Duplicates(refuse=True, seconds=0)), version=1)
    await wished(store, version, "a")


async def test_processes_at_once_do_not_spend_more_than_there_is(url: str, store: SqlStore) -> None:
    """Six that go on until they are refused: what they got together is all that there was."""
    version = await published(store)
    await policed(store, A_DAY)

    async def one(its: Any) -> int:
        for done in range(200):
            try:
                await accept(its, version, euros=1)
            except NotAllowed:
                return done
        return 200

    answers = await asyncio.to_thread(at_once, url, [one] * 6)
    assert sum(answers) == 100
    assert await spent(store) == 100 * MILLION
    assert len(await store.runs(RunFilter(limit=None))) == 100


async def test_runs_are_found_by_who_wants_them_and_under_which_policy(store: SqlStore) -> None:
    version = await published(store)
    await policed(store, Policy())
    await policed(store, Policy(), ALL)
    (mine,) = await accept(store, version, under=(BOT, ALL))
    named = {"customer": "42"}
    (other,) = await accept(store, version, attributes=tuple(named.items()), under=(BOT,))
    person = new_run(version, tenant="acme", actor="ada")
    await store.accept([person])
    pending = frozenset({RunStatus.PENDING})
    for which, wanted in (
        (RunFilter(actor="bot"), {mine.run_id, other.run_id}),
        (RunFilter(actor="bot", status=pending, tenant="acme"), {mine.run_id, other.run_id}),
        (RunFilter(actor="ada", workflow="order"), {person.id}),
        (RunFilter(actor="bot", attributes=named), {other.run_id}),
        (RunFilter(actor="nobody"), set()),
        (RunFilter(under=EVERYBODY, tenant="acme", status=pending), {mine.run_id}),
        (RunFilter(under="bot", attributes=named), {other.run_id}),
        (RunFilter(under="other"), set()),
    ):
        assert {each.id for each in await store.runs(which)} == wanted, which
        assert await store.count_things(which) == len(wanted), which
