"""Bulk accept: all or nothing, and one run for each tenant and idempotency key."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from msgspec.structs import replace

from orchestrator.core.saga import Link, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import Accepted, LinkWrite, NewRerun, RunFilter, Store, hop_id_of
from tests.store.making import (
    ME,
    B,
    F,
    accepted,
    claimed,
    landed,
    new_id,
    new_run,
    plan,
    published,
    registered,
    write,
)


@pytest.mark.parametrize("others_before", [0, 1])
async def test_an_accepted_run_is_pending_published_and_audited(
    store: Store, others_before: int
) -> None:
    """One of a version that is known already takes a shorter way."""
    version = await published(store)
    for _ in range(others_before):
        await store.accept([new_run(version)])
    run = new_run(
        version, tenant="acme", actor="agent-7", lane="fast", priority=3,
        inputs={"text": "žluť 💳 \x00", "big": 2**70, "nested": [{"a": None}]},
    )  # fmt: skip

    assert [(a.run_id, a.repeated) for a in await store.accept([run])] == [(run.id, False)]

    found = await store.run(run.id)
    assert (found.status, found.direction) == (RunStatus.PENDING, Direction.FORWARD)
    assert (found.tenant, found.actor, found.lane, found.priority) == ("acme", "agent-7", "fast", 3)
    assert found.inputs == run.inputs
    assert (found.epoch, found.claims, found.owner, found.hop_id) == (0, 0, None, run.id)
    assert found.published_at == found.created_at
    assert found.deadline_at is None
    assert found.settled_at is None
    assert found.audit_seq == 1
    (first,) = await store.audit(run.id)
    assert (first.seq, first.kind, first.actor) == (1, "run.accepted", "agent-7")
    assert first.at == found.created_at


async def test_the_database_counts_the_deadline_from_its_own_now(store: Store) -> None:
    (run,) = await accepted(store, deadline_seconds=90.5)
    found = await store.run(run.id)
    assert found.deadline_at == found.created_at + timedelta(seconds=90.5)


async def test_a_repeated_key_answers_with_the_first_run(store: Store) -> None:
    version = await published(store)
    first = new_run(version, idempotency_key="k")
    await store.accept([first])

    again = new_run(version, idempotency_key="k")
    fresh = new_run(version)
    answers = await store.accept([again, fresh])

    assert [(a.run_id, a.repeated) for a in answers] == [(first.id, True), (fresh.id, False)]
    assert len(await store.runs(RunFilter())) == 2


async def test_the_same_batch_again_is_answered_as_repeated(store: Store) -> None:
    version = await published(store)
    runs = [new_run(version) for _ in range(5)]
    await store.accept(runs)
    answers = await store.accept(runs)
    assert [(a.run_id, a.repeated) for a in answers] == [(run.id, True) for run in runs]


async def test_a_key_twice_in_one_batch_makes_one_run(store: Store) -> None:
    version = await published(store)
    one = new_run(version, idempotency_key="k")
    two = new_run(version, idempotency_key="k")
    answers = await store.accept([one, two])
    assert len({a.run_id for a in answers}) == 1
    assert sorted(a.repeated for a in answers) == [False, True]
    assert len(await store.runs(RunFilter())) == 1


async def test_tenants_do_not_share_keys(store: Store) -> None:
    version = await published(store)
    runs = [new_run(version, idempotency_key="k", tenant=tenant) for tenant in ("a", "b")]
    assert [a.repeated for a in await store.accept(runs)] == [False, False]


@pytest.mark.parametrize("change", [{"inputs_digest": "other"}, {"workflow": "refund"}])
async def test_a_key_in_use_for_something_else_writes_nothing(
    store: Store, change: dict[str, str]
) -> None:
    version = await published(store)
    await store.accept([new_run(version, idempotency_key="k")])

    conflicting = new_run(version, idempotency_key="k", **change)
    with pytest.raises(Conflict) as refused:
        await store.accept([new_run(version), conflicting, new_run(version)])

    assert "'k'" in refused.value.problems[0].place
    assert "inputs-1" in refused.value.problems[0].found
    assert len(await store.runs(RunFilter())) == 1


async def test_the_id_of_another_run_is_a_conflict(store: Store) -> None:
    (run,) = await accepted(store)
    version = await store.workflow("order")
    with pytest.raises(Conflict, match="new id"):
        await store.accept([new_run(version, id=run.id)])


async def test_an_unknown_workflow_version_is_not_found(store: Store) -> None:
    version = replace(await published(store), id=new_id())
    with pytest.raises(NotFound, match=version.id):
        await store.accept([new_run(version)])


async def test_many_submitters_of_one_key_get_one_run(store: Store, other: Store) -> None:
    version = await published(store)
    stores = [store, other] * 10
    batches = [
        [new_run(version, idempotency_key=key) for key in ("a", "b", "c")[:: (-1) ** n]]
        for n in range(len(stores))
    ]
    answers = await asyncio.gather(
        *(each.accept(batch) for each, batch in zip(stores, batches, strict=True))
    )
    assert len({a.run_id for batch in answers for a in batch}) == 3
    assert sum(not a.repeated for batch in answers for a in batch) == 3
    assert len(await store.runs(RunFilter())) == 3


async def test_accepting_nothing_is_nothing(store: Store) -> None:
    assert await store.accept([]) == []


async def test_thousands_at_once(store: Store) -> None:
    runs = await accepted(store, 4000)
    assert await store.count_by_status() == {RunStatus.PENDING: len(runs)}


async def test_a_mixed_bulk_knows_the_new_from_the_repeated(store: Store) -> None:
    version = await published(store)
    first = [new_run(version, idempotency_key=f"k-{n}") for n in range(0, 100, 7)]
    await store.accept(first)

    again = [new_run(version, idempotency_key=f"k-{n}") for n in range(100)]
    answers = await store.accept(again)

    known = {run.idempotency_key: run.id for run in first}
    assert [(a.run_id, a.repeated) for a in answers] == [
        (known.get(run.idempotency_key, run.id), run.idempotency_key in known) for run in again
    ]
    assert len(await store.runs(RunFilter(limit=200))) == 100
    for run in again:
        if run.idempotency_key not in known:
            assert [each.kind for each in await store.audit(run.id)] == ["run.accepted"]


async def test_the_backlog_is_what_waits_for_a_worker_by_tenant(store: Store) -> None:
    assert await store.backlog(10) == {}
    await accepted(store, 3, tenant="acme")
    runs = await accepted(store, 2, tenant="zeta")
    assert await store.backlog(10) == {"acme": 3, "zeta": 2}

    await registered(store, ME)
    (taken,) = await store.claim([(runs[0].id, 0)], owner=ME)  # no longer waits
    assert await store.backlog(10) == {"acme": 3, "zeta": 1}
    await store.record([write(taken, status=RunStatus.SUCCEEDED, release=True)])
    assert await store.backlog(10) == {"acme": 3, "zeta": 1}


async def test_a_run_that_sleeps_is_not_of_the_backlog_and_one_given_back_is(store: Store) -> None:
    asleep, given_back = await claimed(store, 2)
    until = await store.now() + timedelta(hours=1)
    await store.record(
        [
            write(asleep, status=RunStatus.WAITING, wake_at=until, release=True),
            write(given_back, release=True, hinted=True),
        ]
    )
    assert await store.backlog(10) == {"default": 1}


async def test_no_more_of_the_backlog_is_counted_than_asked_for(store: Store) -> None:
    await accepted(store, 3, tenant="acme")
    await accepted(store, 30, tenant="zeta")
    assert await store.backlog(10) == {"acme": 3, "zeta": 7}  # the longest waiting first


async def test_a_rerun_stands_where_it_begins_and_both_runs_tell(store: Store) -> None:
    (old,) = await claimed(store)
    await store.record([write(old, status=RunStatus.ABANDONED, release=True)])
    run = new_run(await published(store), idempotency_key=f"rerun of {old.run.id}")
    undo = LinkWrite(step=0, direction=B, link=Link(status=LinkStatus.NOT_NEEDED))
    at_second = dataclasses.replace(Saga.new(plan()), status=RunStatus.RUNNING)
    at_second = at_second.with_link(0, F, landed().link).with_link(0, B, undo.link)
    new = NewRerun(
        run=run, of=old.run.id, step="s2", by="ada", reason="fixed", saga=at_second,
        links=(landed(), undo),
    )  # fmt: skip
    assert await store.accept_rerun(new) == Accepted(run_id=run.id, repeated=False)
    again = replace(new, run=replace(run, id=new_id()))
    assert await store.accept_rerun(again) == Accepted(run_id=run.id, repeated=True)
    (taken,) = await store.claim([(run.id, 0)], owner=ME)
    assert taken.saga(plan()) == at_second
    assert taken.steps[0].forward.outputs == {"id": "o-1"}
    assert taken.run.hop_id == hop_id_of(run.id, (1, F))
    assert (taken.run.rerun_of, old.run.rerun_of) == (old.run.id, None)
    reruns = [await store.runs(RunFilter(rerun_of=each)) for each in (old.run.id, run.id)]
    assert [[each.id for each in found] for found in reruns] == [[run.id], []]
    kinds = [each.kind for each in await store.audit(run.id)]
    assert kinds == ["run.accepted", "run.rerun_of"]
    assert (await store.audit(old.run.id))[-1].data == {
        "run": run.id, "step": "s2", "reason": "fixed"
    }  # fmt: skip
