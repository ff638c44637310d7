"""The same races as in virtual time, by real threads with connections of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import (
    Asks,
    Awaiting,
    Decision,
    NewPause,
    NewSignal,
    NewWait,
    RunWrite,
    Store,
    WaitOutcome,
)
from orchestrator.store import open_store
from tests.store.making import ME, accepted, audit, claimed, escalated, new_id, registered, write

ROUNDS = 4
Act = Callable[[Store], Awaitable[Any]]


def at_once(url: str, acts: Sequence[Act]) -> list[Any]:
    """What each was answered, in a thread of its own; they begin at the same moment."""
    ready = threading.Barrier(len(acts), timeout=30)

    async def whole(act: Act) -> Any:
        store = open_store(url, pool_size=1)
        try:
            await store.now()  # connected
            ready.wait()
            return await act(store)
        except Conflict as refused:
            return refused
        finally:
            await store.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(lambda act: asyncio.run(whole(act)), acts))


def winner_of(answers: Sequence[Any]) -> int:
    """The only one that was not refused."""
    (winner,) = (n for n, each in enumerate(answers) if not isinstance(each, Conflict))
    return winner


@pytest.fixture
async def looking(url: str) -> Any:
    store = open_store(url, pool_size=1)
    yield store
    await store.close()


async def test_of_operators_who_decide_at_once_one_does(url: str, looking: Store) -> None:
    for escalation_id, _ in await escalated(looking, ROUNDS):
        _, read = await looking.escalated_run(escalation_id)

        def act(by: str, escalation_id: str = escalation_id, read: Any = read) -> Act:
            decided = RunWrite(
                run_id=read.run.id, owner="", epoch=read.run.epoch + 1,
                saga=write(read, status=RunStatus.ABANDONED).saga,
                audit=(audit(read.run.audit_seq + 1, "operator.abandoned", by=by),),
            )  # fmt: skip
            return lambda store: store.act(
                escalation_id, decided, expected_epoch=read.run.epoch, resolution="abandoned",
                by=by, reason="enough",
            )  # fmt: skip

        answers = await asyncio.to_thread(at_once, url, [act(f"p{n}") for n in range(3)])
        winner = winner_of(answers)
        assert all(
            f"closed (abandoned) by p{winner}" in str(each)
            for n, each in enumerate(answers) if n != winner
        )  # fmt: skip
        kinds = [each.kind for each in await looking.audit(read.run.id)]
        assert kinds.count("operator.abandoned") == 1


async def test_of_links_that_are_used_at_once_one_decides(url: str, looking: Store) -> None:
    for run in await claimed(looking, ROUNDS):
        opened = NewWait(
            id=new_id(), run_id=run.run.id, step=1, attempt=1, step_id="s2", asks=Asks.APPROVAL,
            signal=None, asked={"message": "?"}, expires_at=None,
        )  # fmt: skip
        until = await looking.now() + timedelta(days=1)
        given = write(run, status=RunStatus.WAITING, wake_at=until, release=True)
        await looking.await_answers([Awaiting(wait=opened, write=given)])

        def decide(by: str, wait_id: str = opened.id) -> Act:
            return lambda store: store.decide(
                wait_id, Decision.APPROVED, by=by, via="link", reason="", data={}
            )

        answers = await asyncio.to_thread(at_once, url, [decide(f"p{n}") for n in range(3)])
        winner = winner_of(answers)
        assert all(
            f"approved by p{winner} (via link)" in str(each)
            for n, each in enumerate(answers) if n != winner
        )  # fmt: skip
        told = [each.actor for each in await looking.audit(run.run.id)
                if each.kind == "approval.decided"]  # fmt: skip
        assert told == [f"p{winner}"]


async def test_a_signal_that_comes_while_its_run_falls_asleep_is_not_lost(
    url: str, looking: Store
) -> None:
    for run in await claimed(looking, ROUNDS):
        opened = NewWait(
            id=new_id(), run_id=run.run.id, step=1, attempt=1, step_id="s2", asks=Asks.SIGNAL,
            signal="paid", asked={"signal": "paid"}, expires_at=None,
        )  # fmt: skip
        until = await looking.now() + timedelta(days=1)
        given = write(run, status=RunStatus.WAITING, wake_at=until, release=True)
        signal = NewSignal(run_id=run.run.id, name="paid", key="k", data={}, by="b", via="rest")
        awaiting = Awaiting(wait=opened, write=given)
        acts: list[Act] = [
            lambda store, each=awaiting: store.await_answers([each]),
            lambda store, each=signal: store.send_signal(each),
        ]
        (found,), receipt = await asyncio.to_thread(at_once, url, acts)
        assert (receipt.redelivery is None) != found.wait.is_open, "one of them sees the other"
        (wait,) = await looking.waits_of(run.run.id)
        assert wait.outcome is WaitOutcome.ANSWERED
        owner = (await looking.run(run.run.id)).owner
        assert owner == (None if found.wait.is_open else ME)


async def test_a_cancel_beside_a_step_is_heard_by_its_owner_or_makes_the_run_due(
    url: str, looking: Store
) -> None:
    for run in await claimed(looking, ROUNDS):
        until = await looking.now() + timedelta(hours=1)
        given = write(run, status=RunStatus.PARKED, wake_at=until, release=True)
        acts: list[Act] = [
            lambda store, each=given: store.record([each]),
            lambda store, each=run.run.id: store.request_cancel(
                each, mode=CancelMode.UNDO, reason="no", by="cleo"
            ),
        ]
        (signals,), redelivery = await asyncio.to_thread(at_once, url, acts)
        heard = signals.cancel is CancelMode.UNDO
        assert heard == (redelivery is None), "its owner, or whoever is woken"
        assert ((await looking.run(run.run.id)).owner == ME) == heard
        kinds = [each.kind for each in await looking.audit(run.run.id)]
        assert kinds.count("run.cancel_requested") == 1


async def test_of_a_pause_and_a_claim_one_wins(url: str, looking: Store) -> None:
    await registered(looking, ME)
    for run in await accepted(looking, ROUNDS):
        pause = NewPause(id=new_id(), by="ada", reason="x", run_id=run.id)
        acts: list[Act] = [
            lambda store, each=run.id: store.claim([(each, 0)], owner=ME),
            lambda store, each=pause: store.pause(each),
        ]
        taken, _ = await asyncio.to_thread(at_once, url, acts)
        found = await looking.run(run.id)
        if taken:
            assert (found.status is RunStatus.PAUSED, found.owner) == (False, ME)
        else:
            assert (found.status, found.owner) == (RunStatus.PAUSED, None)
        kinds = [each.kind for each in await looking.audit(run.id)]
        assert kinds.count("run.paused") == int(not taken)
