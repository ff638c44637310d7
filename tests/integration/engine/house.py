"""One database, one API, and worker processes that come, die, hang and are recovered from.

Everything of the engine is real but the broker (a list), the event loop's place (this test's) and
the clock's patience: `pass_time` ends every wait. A worker "dies" when its driver is dropped at a
crash point without any cleanup; a worker "hangs" in a thread of its own (`Hung`), on its own
connections, as another process would.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uuid_utils
from sqlalchemy import text

from orchestrator import crashpoints
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga
from orchestrator.core.states import FINAL, HAPPENED, SETTLED, Direction, LinkStatus
from orchestrator.crashpoints import Reached
from orchestrator.definitions.programs import Programs
from orchestrator.engine.batching import Batcher
from orchestrator.engine.children import Children
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.deps import Deps, Limits
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.maps import Maps
from orchestrator.errors import StaleOwner
from orchestrator.ports import (
    EscalationRecord,
    Gate,
    Hint,
    Hop,
    NewRun,
    RunRecord,
    RunWrite,
    Signals,
    WorkerRecord,
)
from orchestrator.ports.tracing import Tracing
from orchestrator.service.escalations import Escalations
from orchestrator.service.redelivery import Redeliverer
from orchestrator.store import SqlStore, open_store
from tests.integration.engine.world import Shop

LIMITS = Limits(
    max_inline_steps=50, max_inline_seconds=3600.0, short_wait_seconds=2.0,
    gate_patience_seconds=5.0, max_claims=12, max_output_bytes=2_000,
)  # fmt: skip
ROUNDS = 60  # of waking and sweeping until a run has to be settled


def new_id() -> str:
    return str(uuid_utils.uuid7())


class Killed(BaseException):
    """The worker's process ends here: nothing may clean up after it."""


@dataclass
class Broker:
    """Implements HintPublisher and DeadLetterQueue in memory."""

    hints: deque[Hint] = field(default_factory=deque)
    letters: list[str] = field(default_factory=list)

    async def publish(self, items: Sequence[Any]) -> None:
        for item in items:
            if isinstance(item, EscalationRecord):
                self.letters.append(item.id)
            else:
                self.hints.append(item)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        return {name: sum(hint.queue == name for hint in self.hints) for name in queues}

    async def take_next(self) -> str | None:
        return self.letters.pop(0) if self.letters else None

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        self.letters = [known for known in self.letters if known not in set(escalation_ids)]

    async def listed(self) -> list[str]:
        return list(self.letters)


class NoEvents:
    """Implements StepEvents."""

    watched = True

    def step_started(self, *_: Any, **__: Any) -> None: ...

    def step_revived(self, hint: Hint) -> None: ...

    def step_ended(self, *_: Any, **__: Any) -> None: ...

    def step_left(self, hint: Hint) -> None: ...


TRUSTED_SECONDS = 3600.0
"""Longer than a test takes on any machine: workers have no heartbeat here."""


def trusting(monotonic: Callable[[], float] = time.monotonic) -> Lifeline:
    """The database has heard of this worker."""
    return Lifeline(trusted_seconds=TRUSTED_SECONDS, monotonic=monotonic)


class Worker:
    """A worker process: an id, connections, and what its drivers need."""

    def __init__(
        self, store: SqlStore, shop: Shop, broker: Broker, *, limits: Limits = LIMITS,
        gate: Gate | None = None, lifeline: Lifeline | None = None,
        tracing: Tracing | None = None,
    ) -> None:  # fmt: skip
        self.id = new_id()
        self.store = store
        self.driver: RunDriver | None = None
        self.stale: list[StaleOwner] = []
        self.on_record: Callable[[Sequence[RunWrite]], Any] | None = None
        self.after_record: Callable[[Sequence[RunWrite]], Any] | None = None

        async def load(workflow_id: str) -> Plan:
            return (await store.workflow_by_id(workflow_id)).plan

        async def publish(hints: Sequence[Hint]) -> Sequence[None]:
            await broker.publish(hints)
            return [None] * len(hints)

        self.programs = Programs(load)
        clock, outbox = DatabaseClock(), Batcher(publish, name="hints", largest=100)
        republish = Redeliverer(broker, self.programs).publish
        self.maps = Maps(
            store, self.programs, republish, outbox.submit, new_id=new_id, now=clock.now
        )
        self.deps = Deps(
            worker_id=self.id, journal=Batcher(self._record, name="journal", largest=100),
            waits=Batcher(store.await_answers, name="waits", largest=100),
            outbox=outbox,
            gate=gate or SharedGate(None, {}),
            http=shop, tasks=shop, dead_letters=broker, events=NoEvents(), clock=clock,
            limits=limits, new_id=new_id, lifeline=lifeline or trusting(), jitter=lambda: 0.0,
            tracing=tracing,
            children=Children(
                store, self.programs, republish, self.maps, new_id=new_id,
                max_depth=3, max_branches=3, max_map_items=20,
            ),
        )  # fmt: skip

    async def join(self) -> None:
        asked_at, now = self.deps.clock.monotonic(), await self.store.now()
        self.deps.clock.correct(now, asked_at=asked_at)
        await self.store.register(
            WorkerRecord(
                id=self.id, name="w", pid=1, started_at=now, heartbeat_at=now, active_runs=0,
                reserved=0, version="0",
            )
        )  # fmt: skip

    async def take(self, hint: Hint) -> RunDriver | None:
        """A driver for the run, if it can be claimed."""
        claimed = await self.store.claim([(hint.run_id, hint.epoch)], owner=self.id)
        if not claimed:
            return None
        program = await self.programs.of_run(claimed[0].run.workflow_id, claimed[0].run.edits)
        hop = Hop(
            hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, label=hint.label, task=hint.task,
            queue=hint.queue, runs=((hint.run_id, hint.epoch),),
        )  # fmt: skip
        self.driver = RunDriver(claimed[0], hop, program, self.deps)
        return self.driver

    async def drive(self, hint: Hint) -> bool:
        """Drive a run as far as this worker does. False when there is nothing to drive."""
        driver = await self.take(hint)
        if driver is None:
            return False
        try:
            await driver.drive()
        except StaleOwner as error:
            self.stale.append(error)
        return True

    async def _record(self, writes: Sequence[RunWrite]) -> list[Signals | None]:
        if self.on_record is not None:
            await self.on_record(writes)
        answers = await self.store.record(writes)
        if self.after_record is not None:
            await self.after_record(writes)
        return answers


class House:
    """All of it."""

    def __init__(self, url: str, *, limits: Limits = LIMITS) -> None:
        self.url = url
        self.store = open_store(url)
        self.shop = Shop()
        self.broker = Broker()
        self.limits = limits
        self.gate: Gate | None = None
        self.tracing: Tracing | None = None
        self.dead: list[str] = []
        self.claims = 0
        self._worker: Worker | None = None

        async def load(workflow_id: str) -> Plan:
            return (await self.store.workflow_by_id(workflow_id)).plan

        self.programs = Programs(load)
        self.redeliverer = Redeliverer(self.broker, self.programs)
        self.escalations = Escalations(self.store, self.broker, self.programs, self.redeliverer)

    async def close(self) -> None:
        await self.store.close()

    async def submit(self, plan: Plan, order: str = "o-1", **changes: Any) -> str:
        """Accept one run and put its hint on the broker; its order is what the API knows it by."""
        version, _ = await self.store.publish(plan, document="", by="test")
        run_id = new_id()
        run = NewRun(
            id=run_id, workflow_id=version.id, workflow=version.workflow, version=version.version,
            inputs={"order": order}, inputs_digest=f"of {order}",
            **{"idempotency_key": run_id, **changes},
        )  # fmt: skip
        await self.store.accept([run])
        await self.broker.publish([Hint.at(Saga.new(plan), run_id=run_id, epoch=0, lane="default")])
        return run_id

    # --- workers ------------------------------------------------------------------------------

    async def worker(self) -> Worker:
        """The living one; a new one after a death."""
        if self._worker is None:
            self._worker = Worker(
                self.store, self.shop, self.broker, limits=self.limits, gate=self.gate,
                tracing=self.tracing,
            )  # fmt: skip
            await self._worker.join()
        return self._worker

    async def work(self) -> None:
        """Take every hint up that is on the broker, and those that come of it."""
        while self.broker.hints:
            hint = self.broker.hints.popleft()
            worker = await self.worker()
            try:
                self.claims += await worker.drive(hint)
            except Killed:
                self.bury(worker)

    def bury(self, worker: Worker) -> None:
        """Its process is gone; its lock is free."""
        self.dead.append(worker.id)
        if self._worker is worker:
            self._worker = None

    def retire(self) -> None:
        """The next run is for another worker; this one has nothing to do any more."""
        self._worker = None

    async def sweep(self) -> None:
        """What recovery does: the dead's runs, due waits, lost hints."""
        while self.dead:
            found = await self.store.recover_dead(dead_after_seconds=3600, also_dead=self.dead)
            await self.redeliverer.publish(found)
            self.dead = [] if len(found) < 500 else self.dead
        await self.pass_time()
        await self.redeliverer.publish(await self.store.take_due())
        untold = await self.store.untold_children()
        await self.redeliverer.publish(await self.store.tell_parents(untold))
        await self.redeliverer.publish(await self.store.cancel_forsaken())
        await (await self.worker()).maps.look_after()
        if not self.broker.hints:
            await self.redeliverer.publish(await self.store.take_lost(silent_seconds=-1, limit=500))

    async def pass_time(self) -> None:
        """Every wait is over."""
        await self.execute("UPDATE runs SET wake_at = created_at WHERE wake_at IS NOT NULL")

    async def execute(self, statement: str, **parameters: Any) -> None:
        await self.store._database.write(lambda tx: tx.change(text(statement), **parameters))

    async def settle(self, run_id: str, *, recoveries: bool = True) -> RunRecord:
        """Work and sweep until the run is settled; fails when it never is."""
        for _ in range(ROUNDS):
            await self.work()
            run = await self.store.run(run_id)
            if run.status in SETTLED:
                return run
            assert recoveries, f"{run.status} without a hint"
            await self.sweep()
        raise AssertionError(f"never settled: {await self.store.run(run_id)}")

    # --- people -------------------------------------------------------------------------------

    async def decide_truthfully(self, run_id: str, order: str) -> RunRecord:
        """A person looks at the API and says what is there, until the run has really ended."""
        for _ in range(20):
            run = await self.settle(run_id)
            if run.status in FINAL:
                return run
            found = await self.store.escalations_of(run_id)
            (escalation,) = [one for one in found if one.closed_at is None]
            await self._decide(run_id, order, escalation)
        raise AssertionError("no end of escalations")

    async def _decide(self, run_id: str, order: str, escalation: EscalationRecord) -> None:
        steps = await self.store.steps(run_id)
        if escalation.step is None:
            await self.escalations.retry(escalation.id, by="ada", reason="the machine is well")
            return
        step = steps[escalation.step]
        forward = escalation.direction is Direction.FORWARD
        name = step.step_id if forward else f"{step.step_id}.undo"
        record = step.forward if forward else step.undo
        undecided = forward and record.link.status is LinkStatus.UNKNOWN
        if self.shop.times(order, name):
            await self.escalations.resolve(escalation.id, by="ada", reason="it is there")
        elif undecided and not await self._past_pivot(run_id):
            await self.escalations.resolve(escalation.id, by="ada", reason="no", landed=False)
        elif record.request is None or await self._retried(run_id, escalation):
            self.shop.applied[order].append(name)
            await self.escalations.resolve(escalation.id, by="ada", reason="done by hand")
        else:
            await self.escalations.retry(escalation.id, by="ada", reason="it is not there")

    async def _retried(self, run_id: str, escalation: EscalationRecord) -> bool:
        """Whether a retry has been in vain: a refusal that its key gives again, for example."""
        at = (escalation.step, escalation.direction)
        earlier = await self.store.escalations_of(run_id)
        return any((e.step, e.direction) == at and e.resolution == "retried" for e in earlier)

    async def _past_pivot(self, run_id: str) -> bool:
        run = await self.store.run(run_id)
        pivot = (await self.programs.get(run.workflow_id)).plan.pivot_index
        if pivot is None:
            return False
        return (await self.store.steps(run_id))[pivot].forward.link.status in HAPPENED


# --- at a crash point -----------------------------------------------------------------------------


@contextmanager
def dying_at(wanted: Callable[[Reached], bool]) -> Iterator[list[Reached]]:
    """The first driver that comes to the point dies there. Yields what was hit."""
    hit: list[Reached] = []

    def hook(reached: Reached) -> None:
        if not hit and wanted(reached):
            hit.append(reached)
            raise Killed

    crashpoints.install(hook)
    try:
        yield hit
    finally:
        crashpoints.install(None)


class Hung:
    """A worker process that stops at a crash point, for as long as the test wants."""

    def __init__(self, house: House, wanted: Callable[[Reached], bool]) -> None:
        self._house, self._wanted = house, wanted
        self._reached, self._go = threading.Event(), threading.Event()
        self.hit: Reached | None = None
        self._later = 0.0
        self._thread = threading.Thread(target=self._main, daemon=True)
        self.worker: Worker | None = None
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Hung:
        crashpoints.install(self._hook)
        self._thread.start()
        assert await asyncio.to_thread(self._reached.wait, 20), "it neither ended nor hung"
        assert self.hit is not None, f"it never came to the point: {self.failure!r}"
        return self

    async def __aexit__(self, *_: object) -> None:
        crashpoints.install(None)
        await self.wake_up()

    async def wake_up(self) -> None:
        """SIGCONT, much later; returns when it has nothing more to do."""
        self._later = 2 * TRUSTED_SECONDS
        self._go.set()
        await asyncio.to_thread(self._thread.join, 20)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    def _hook(self, reached: Reached) -> None:
        mine = threading.current_thread() is self._thread
        if mine and self.hit is None and self._wanted(reached):
            self.hit = reached
            self._reached.set()
            assert self._go.wait(30)

    def _main(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.failure = error
        finally:
            self._reached.set()

    async def _work(self) -> None:
        """Like the house's own worker, until nothing is on the broker."""
        house = self._house
        store = open_store(house.url)
        lifeline = trusting(lambda: time.monotonic() + self._later)
        self.worker = worker = Worker(
            store, house.shop, house.broker, limits=house.limits, lifeline=lifeline
        )
        try:
            await worker.join()
            while house.broker.hints and not worker.stale:
                await worker.drive(house.broker.hints.popleft())
        finally:
            await store.close()
