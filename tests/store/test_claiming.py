"""The guarded claim: one winner, the right epoch, and everything that driving the run needs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import Store
from tests.store.backends import Backend, answers_lost
from tests.store.making import (
    AT,
    ME,
    YOU,
    accepted,
    begun,
    claimed,
    ids,
    landed,
    registered,
    request,
    waiting,
    write,
)


async def test_a_claim_owns_counts_and_fences(store: Store) -> None:
    (new,) = await accepted(store)
    await registered(store, ME)
    (taken,) = await store.claim([(new.id, 0)], owner=ME)

    run = taken.run
    assert (run.owner, run.epoch, run.claims, run.status) == (ME, 1, 1, RunStatus.PENDING)
    assert run.started_at is not None
    assert run == await store.run(new.id)
    assert [(step.index, step.step_id, step.label) for step in taken.steps] == [
        (0, "s1", "order.s1"), (1, "s2", "order.s2"), (2, "s3", "order.s3"),
    ]  # fmt: skip
    assert all(step.forward.link.status is LinkStatus.PENDING for step in taken.steps)


async def test_one_of_fifty_concurrent_claimers_wins(backend: Backend, store: Store) -> None:
    runs = await accepted(store, 4)
    hints = [(run.id, 0) for run in runs]
    await registered(store, *(f"worker-{n}" for n in range(50)))
    others = [backend.open() for _ in range(5)]
    try:
        answers = await asyncio.gather(
            *(others[n % 5].claim(hints, owner=f"worker-{n}") for n in range(50))
        )
    finally:
        for each in others:
            await each.close()
    winners = [run for answer in answers for run in answer]
    assert ids(winners) == ids(runs)
    assert {run.run.epoch for run in winners} == {1}
    for run in winners:
        assert (await store.run(run.run.id)).owner == run.run.owner


@pytest.mark.parametrize("epoch", [1, -1, 7])
async def test_another_epoch_is_left_out(store: Store, epoch: int) -> None:
    (run,) = await accepted(store)
    assert await store.claim([(run.id, epoch)], owner=ME) == []
    assert (await store.run(run.id)).epoch == 0


async def test_owned_unknown_and_repeated_hints(store: Store) -> None:
    one, two = await accepted(store, 2)
    await registered(store, ME, YOU)
    await store.claim([(one.id, 0)], owner=YOU)
    hints = [(one.id, 0), (one.id, 1), (two.id, 0), (two.id, 0), (two.id, 1), ("no-such-run", 0)]
    assert ids(await store.claim(hints, owner=ME)) == [two.id]
    assert (await store.run(one.id)).owner == YOU
    assert (await store.run(two.id)).claims == 1


@pytest.mark.parametrize(
    ("status", "wake_in", "due"),
    [
        (RunStatus.RUNNING, None, True),
        (RunStatus.COMPENSATING, None, True),
        (RunStatus.WAITING, -1, True),
        (RunStatus.WAITING, 60, False),
        (RunStatus.PARKED, -1, True),
        (RunStatus.PARKED, 60, False),
        (RunStatus.PAUSED, None, False),
        (RunStatus.ESCALATED, None, False),
        (RunStatus.SUCCEEDED, None, False),
        (RunStatus.COMPENSATED, None, False),
        (RunStatus.ABANDONED, None, False),
    ],
)
async def test_only_what_is_due_can_be_claimed(
    store: Store, status: RunStatus, wake_in: float | None, due: bool
) -> None:
    (run,) = await claimed(store)
    await registered(store, YOU)
    wake_at = None if wake_in is None else await store.now() + timedelta(seconds=wake_in)
    await store.record([write(run, status=status, wake_at=wake_at, release=True)])
    assert len(await store.claim([(run.run.id, 1)], owner=YOU)) == int(due)


async def test_a_second_claim_carries_what_was_frozen_and_produced(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, links=(begun(0),))])
    await store.record([write(run, links=(landed(0), begun(1)), release=True, progressed=True)])

    await registered(store, YOU)
    (again,) = await store.claim([(run.run.id, 1)], owner=YOU)

    assert (again.run.epoch, again.run.claims) == (2, 1)
    assert again.run.started_at == run.run.started_at
    first, second, third = again.steps
    assert first.forward.link.status is LinkStatus.LANDED
    assert first.forward.link.sequence == 1
    assert first.forward.request == request()
    assert first.forward.outputs == {"id": "o-1"}
    assert (first.forward.started_at, first.forward.finished_at) == (AT, AT)
    assert second.forward.link.status is LinkStatus.STARTED
    assert second.forward.link.first_started_at == AT
    assert second.forward.request == request()
    assert third.forward.link.status is LinkStatus.PENDING
    assert first.undo.link.status is LinkStatus.PENDING


async def test_claims_count_up_until_there_is_progress(store: Store) -> None:
    (run,) = await claimed(store)
    for epoch in (1, 2, 3):
        await store.record([write(run, release=True)])
        (run,) = await store.claim([(run.run.id, epoch)], owner=ME)
    assert run.run.claims == 4
    await store.record([write(run, progressed=True)])
    assert (await store.run(run.run.id)).claims == 0


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_claim_whose_answer_was_lost_can_be_made_again(store: Store, times: int) -> None:
    """Else the run stays ours, alive by our heartbeat, and nobody drives it."""
    one, two = await accepted(store, 2)
    await registered(store, ME)
    with answers_lost(store):
        for _ in range(times):
            with pytest.raises(Unavailable):
                await store.claim([(one.id, 0)], owner=ME)

    assert ids(await store.claim([(one.id, 0), (two.id, 0)], owner=ME)) == ids([one, two])
    # From then on a doubled hint is stale again.
    assert await store.claim([(one.id, 0), (one.id, times), (two.id, 0)], owner=ME) == []


async def test_a_waiting_run_keeps_its_wake_time(store: Store) -> None:
    (run,) = await waiting(store, -1)
    await registered(store, YOU)
    (again,) = await store.claim([(run.run.id, 1)], owner=YOU)
    assert again.run.status is RunStatus.WAITING
    assert again.run.wake_at is not None


async def test_who_has_no_row_takes_nothing(store: Store) -> None:
    """It was declared dead and does not know it yet; its runs would be taken from it at once."""
    (run,) = await accepted(store)
    assert await store.claim([(run.id, 0)], owner=ME) == []
    await registered(store, ME)
    await store.deregister(ME)
    assert await store.claim([(run.id, 0)], owner=ME) == []
    found = await store.run(run.id)
    assert (found.owner, found.epoch) == (None, 0)


async def test_claiming_nothing_is_nothing(store: Store) -> None:
    assert await store.claim([], owner=ME) == []


async def test_who_was_declared_dead_claims_nothing(store: Store) -> None:
    """It does not know it yet; what it claimed would be taken from it at once, as a dead one's."""
    (run,) = await accepted(store, 1)
    assert await store.claim([(run.id, 0)], owner="never-registered") == []
    await registered(store, ME)
    await store.recover_dead(dead_after_seconds=60, also_dead=[ME])
    assert await store.claim([(run.id, 0)], owner=ME) == []
    await registered(store, YOU)
    assert len(await store.claim([(run.id, 0)], owner=YOU)) == 1
