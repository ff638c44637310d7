"""The engine of one process as Celery's side sees it: threads, drain, death, odd plans."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.core.plan import Plan
from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.definitions.programs import Programs
from orchestrator.engine.process import Parts
from orchestrator.engine.runtime import EngineRuntime, RuntimeOptions
from orchestrator.engine.shortcut import Shortcut
from orchestrator.engine.signing import Signer, TrustedKeys
from orchestrator.ports import Hint, Hop, Redelivery, RunWrite, Store
from orchestrator.service.due import AlarmClock, DueRuns
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.surveying import Surveyor
from orchestrator.service.vouching import Vouching
from orchestrator.store import open_store, open_worker_locks
from tests.integration.engine.busy_gate import LateGate
from tests.integration.engine.checking import check
from tests.integration.engine.house import House, NoEvents, Worker, new_id
from tests.integration.engine.test_sleeps import asleep, its_time_comes, sleeping_plan
from tests.integration.engine.world import Kind, shop_plan
from tests.store.making import SURVEYED

WAIT_SECONDS = 60.0
KEYED = (Kind.KEYED, Kind.KEYED)


class Process:
    """One EngineRuntime on the house's database and API."""

    def __init__(self, house: House, **options: Any) -> None:
        self.house = house
        self.worker: Worker | None = None
        self.job_turns: list[tuple[str, int]] = []
        self.programs: Programs | None = None
        self.done: list[BaseException | None] = []
        self.stuck = threading.Event()
        self.runtime = EngineRuntime(
            self._build, new_id=new_id,
            options=RuntimeOptions(
                **{"heartbeat_seconds": 0.1, "stuck_loop_seconds": 5.0, "version": "0",
                   "on_stuck": self.stuck.set, **options}
            ),
        )  # fmt: skip

    async def _build(self, worker_id: str) -> Parts:
        store = open_store(self.house.url)
        house = self.house
        worker = Worker(store, house.shop, house.broker, limits=house.limits, gate=house.gate)

        async def republish(found: Sequence[Redelivery]) -> None:
            await self.house.redeliverer.publish(found)

        async def heartbeat_store() -> Store:
            return open_store(self.house.url)

        async def work_on_job(job_id: str, turn: int) -> None:
            self.job_turns.append((job_id, turn))

        self.worker = worker
        return Parts(
            deps=replace(worker.deps, worker_id=worker_id), store=store,
            locks=open_worker_locks(self.house.url), programs=self.programs or worker.programs,
            background=[], republish=republish, close=store.close,
            open_heartbeat_store=heartbeat_store, work_on_job=work_on_job,
            surveys=Surveyor(store, SURVEYED, every_seconds=60),
        )  # fmt: skip

    def deliver(self, hint: Hint) -> None:
        hop = Hop(
            hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, label=hint.label, task=hint.task,
            queue=hint.queue, runs=((hint.run_id, hint.epoch),),
        )  # fmt: skip
        self.runtime.deliver(hop, lambda error=None: self.done.append(error))

    async def delivered(self) -> None:
        """Everything on the broker, taken up and over."""
        count = len(self.done) + len(self.house.broker.hints)
        while self.house.broker.hints:
            self.deliver(self.house.broker.hints.popleft())
        await until(lambda: len(self.done) == count)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


@contextmanager
def started(house: House, *, kind: type[Process] = Process, **options: Any) -> Iterator[Process]:
    process = kind(house, **options)
    process.runtime.start(name="w1")
    try:
        yield process
    finally:
        if process.runtime._thread.is_alive():
            process.runtime.drain(grace_seconds=1.0)


async def test_runs_are_driven_to_their_end(house: House) -> None:
    ids = [await house.submit(shop_plan([KEYED] * 2), f"o-{n}") for n in range(20)]
    with started(house) as process:
        await process.delivered()
        assert process.done == [None] * 20
        assert process.runtime.active() == []
    for number, run_id in enumerate(ids):
        await check(house, run_id, f"o-{number}")
    assert await house.store.workers() == []


class Unwatched(NoEvents):
    """Nobody watches them."""

    watched = False


class Near(Process):
    """It looks for runs whose time has come, and takes them itself while it has room."""

    async def _build(self, worker_id: str) -> Parts:
        parts = await super()._build(worker_id)
        shortcut = Shortcut(self.house.broker, queues=["default.forward"], events=Unwatched())
        alarm = AlarmClock(
            DueRuns(parts.store, Redeliverer(shortcut, parts.programs)), look_every=0.2,
            now=parts.deps.clock.now,
        )  # fmt: skip
        return replace(parts, shortcut=shortcut, background=[alarm.run_passes])


async def test_a_run_whose_time_has_come_needs_no_broker(house: House) -> None:
    run_id = await asleep(house, sleeping_plan(**{"for": 3600}))
    await its_time_comes(house)
    await house.execute("UPDATE runs SET wake_at = created_at")
    with started(house, kind=Near):
        async with asyncio.timeout(WAIT_SECONDS):
            while (await house.store.run(run_id)).settled_at is None:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.02)
        assert not house.broker.hints
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def test_a_hint_that_comes_twice_is_driven_once(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 2))
    house.broker.hints.append(house.broker.hints[0])
    with started(house) as process:
        await process.delivered()
    assert len(house.shop.sent) == 2
    await check(house, run_id)


class Held:
    """Requests that are held at the API until they are let go."""

    def __init__(self, house: House) -> None:
        self.here, self.go = threading.Event(), threading.Event()
        house.shop.on_send = self._hold

    def _hold(self, name: str) -> Any:
        self.here.set()
        return asyncio.to_thread(self.go.wait, WAIT_SECONDS)


async def test_a_drain_lets_calls_in_flight_end_and_hands_the_run_over(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 2))
    held = Held(house)
    with started(house) as process:
        process.deliver(house.broker.hints.popleft())
        await asyncio.to_thread(held.here.wait, WAIT_SECONDS)
        (active,) = process.runtime.active()
        assert (active.run_id, active.label) == (run_id, "order.s1")
        drain = asyncio.create_task(asyncio.to_thread(process.runtime.drain, grace_seconds=10.0))
        await until(lambda: process.runtime._process._draining)
        held.go.set()
        await drain
    run, steps = await house.store.run(run_id), await house.store.steps(run_id)
    assert (run.status, run.owner) == (RunStatus.RUNNING, None)
    assert steps[0].forward.link.status is LinkStatus.LANDED
    assert [hint.run_id for hint in house.broker.hints] == [run_id]
    house.shop.on_send = lambda name: None
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert len(house.shop.sent) == 2
    await check(house, run_id)


async def test_calls_past_the_grace_time_are_left_in_doubt(house: House) -> None:
    run_id = await house.submit(shop_plan([KEYED] * 2))
    held = Held(house)
    with started(house) as process:
        process.deliver(house.broker.hints.popleft())
        await asyncio.to_thread(held.here.wait, WAIT_SECONDS)
        await asyncio.to_thread(process.runtime.drain, grace_seconds=0.05)
    assert await house.store.workers() == []
    assert (await house.store.run(run_id)).owner is None
    assert [hint.run_id for hint in house.broker.hints] == [run_id]
    house.shop.on_send = lambda name: None
    held.go.set()
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def test_an_outcome_that_waits_for_its_commit_outlives_its_driver(house: House) -> None:
    """The grace time is over when the answer is there and not recorded yet."""
    run_id = await house.submit(shop_plan([(Kind.UNKEYED, Kind.UNKEYED)] * 2))
    at_commit, go = threading.Event(), threading.Event()
    with started(house) as process:

        async def slow(writes: Sequence[RunWrite]) -> None:
            if writes[0].attempts:
                at_commit.set()
                await asyncio.to_thread(go.wait, WAIT_SECONDS)

        assert process.worker is not None
        process.worker.on_record = slow
        process.deliver(house.broker.hints.popleft())
        await asyncio.to_thread(at_commit.wait, WAIT_SECONDS)
        drain = asyncio.create_task(asyncio.to_thread(process.runtime.drain, grace_seconds=0.0))
        await until(lambda: process.runtime._process._draining)
        await asyncio.sleep(0.1)
        go.set()
        await drain
    first, second = await house.store.steps(run_id)
    assert first.forward.link.status is LinkStatus.LANDED
    assert second.forward.link.status is LinkStatus.PENDING
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert len(house.shop.sent) == 2
    await check(house, run_id)


async def test_declared_dead_it_drops_its_runs_and_joins_again(house: House) -> None:
    """It was silent for too long: others have its runs, and it goes on under a new id."""
    house.gate = gate = LateGate(lates=0)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    held = Held(house)
    with started(house) as process:
        process.deliver(house.broker.hints.popleft())
        await asyncio.to_thread(held.here.wait, WAIT_SECONDS)
        before = process.runtime.worker_id
        found = await house.store.recover_dead(dead_after_seconds=3600, also_dead=[before])
        await house.redeliverer.publish(found)
        await until(lambda: process.runtime.worker_id != before)
        await until(lambda: process.runtime.active() == [])
        assert gate.given[0].ends == ["given up"], "the API may still be at it"
        async with asyncio.timeout(WAIT_SECONDS):  # until it is in the table again
            while process.runtime.worker_id not in {w.id for w in await house.store.workers()}:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.01)
        house.shop.on_send = lambda name: None
        held.go.set()
        await process.delivered()
        workers = [worker.id for worker in await house.store.workers()]
        assert workers == [process.runtime.worker_id]
        assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def test_it_is_not_fit_while_its_loop_stands_or_the_database_is_silent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engine.runtime.LATE_SECONDS", 1.0)
    stand = threading.Event()
    with started(house) as process:
        runtime, lifeline = process.runtime, process.runtime._process.parts.deps.lifeline
        await until(lambda: runtime.fit)
        runtime._loop.call_soon_threadsafe(stand.wait)
        await until(lambda: not runtime.fit)
        stand.set()
        await until(lambda: runtime.fit)
        monkeypatch.setattr(lifeline, "_trusted", -1.0)
        assert not runtime.fit


async def test_a_plan_that_cannot_be_read_here_is_left_to_others(house: House) -> None:
    """An older worker beside a newer one: it gives the run back, whose fault it is not."""
    run_id = await house.submit(shop_plan([KEYED] * 2))

    async def unreadable(workflow_id: str) -> Plan:
        raise ValueError("plan format 99")

    process = Process(house)
    process.programs = Programs(unreadable)
    process.runtime.start(name="old")
    try:
        await process.delivered()
        assert [str(error) for error in process.done] == ["plan format 99"]
        run = await house.store.run(run_id)
        assert (run.status, run.owner, run.claims) == (RunStatus.PENDING, None, 0)
    finally:
        process.runtime.drain(grace_seconds=1.0)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def test_a_definition_that_was_changed_is_not_followed(house: House) -> None:
    """Nothing is sent: a person is told, and the run goes on when the definition is as signed."""
    plan, signer = shop_plan([KEYED] * 2), Signer(Ed25519PrivateKey.generate())
    run_id = await house.submit(plan)
    signed, _ = await house.store.publish(plan, document="", by="test", signer=signer)
    change = "UPDATE workflows SET plan = replace(plan, :old, :new) WHERE id = :id"
    await house.execute(change, id=signed.id, old='"s2"', new='"s9"')
    vouching = Vouching(house.store, TrustedKeys([signer.public_key]), signer=None)
    process = Process(house)
    process.programs = Programs(vouching.plan)
    process.runtime.start(name="w1")
    try:
        await process.delivered()
        assert process.done == [None]
        assert (await house.store.run(run_id)).status is RunStatus.ESCALATED
        (escalation,) = await house.store.escalations_of(run_id)
        assert (escalation.reason, house.shop.sent) == ("untrusted", [])
        assert f"the key {signer.key_id} has signed: it was changed since" in escalation.detail
        assert house.broker.letters == [escalation.id]
        await house.execute(change, id=signed.id, old='"s9"', new='"s2"')
        await house.escalations.retry(escalation.id, by="ada", reason="restored")
        await process.delivered()
    finally:
        process.runtime.drain(grace_seconds=1.0)
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    assert house.shop.times("o-1", "s2") == 1


async def test_a_driver_that_fails_gives_its_run_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours outside a call: the run is not stuck with a worker that drives it no more."""
    run_id = await house.submit(shop_plan([KEYED] * 2))
    with started(house) as process:

        class Bug(Exception): ...

        def broken() -> float:
            raise Bug

        assert process.runtime._process._parts is not None
        deps = process.runtime._process._parts.deps
        process.runtime._process._parts = replace(
            process.runtime._process._parts, deps=replace(deps, jitter=broken)
        )
        await process.delivered()
        assert [type(error) for error in process.done] == [Bug]
        run = await house.store.run(run_id)
        assert (run.owner, run.claims) == (None, 1)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    assert house.shop.times("o-1", "s1") == 1
    await check(house, run_id)
