"""One worker process: the real engine over a simulated store, broker and API, and what keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator import crashpoints
from orchestrator.crashpoints import Reached
from orchestrator.engine.batching import Batcher
from orchestrator.engine.children import Children
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.deps import Deps, Limits
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.pausing import Pauses, PauseWatch
from orchestrator.engine.process import Parts, WorkerProcess
from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, Hop, Redelivery, Store
from orchestrator.service.recovery import Recovery, RecoveryTimes
from orchestrator.service.redelivery import Redeliverer
from tests.faults.memory.health import MemoryHealth
from tests.faults.memory.limits import MemoryLimits
from tests.faults.simulation.api import ApiLink
from tests.faults.simulation.broker import BrokerLink
from tests.faults.simulation.loop import Process
from tests.faults.simulation.small_parts import HealthLink, LimitLink, LockLink, NoEvents

if TYPE_CHECKING:
    from tests.faults.simulation.house import House

LIMITS = Limits(
    max_inline_steps=50, max_inline_seconds=20.0, short_wait_seconds=2.0,
    gate_patience_seconds=5.0, max_claims=25, max_output_bytes=2_000,
)  # fmt: skip
TIMES = RecoveryTimes(pass_every=1.0, dead_after=6.0, lost_after=5.0)
HEARTBEAT_SECONDS = 2.0
CAPACITY = 60  # hops in hand at a time
GRACE_SECONDS = 2.0
LARGEST_BATCH = 500


class Worker(Process):
    """A process that takes messages, drives runs, beats, and dies or stands still when told."""

    def __init__(self, house: House, name: str) -> None:
        super().__init__(house.loop, name)
        self.house = house
        self.store = house.backing.view(house.weather, house.loop)
        self.lock = house.backing.lock()
        self.locks = LockLink(self.lock, house.weather, house.loop)
        self.broker = BrokerLink(house.broker, house.weather, house.loop)
        self.ready = False  # it has joined and consumes
        self._taken = 0
        self._slot_came = asyncio.Event()
        self._consuming: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        limits = MemoryLimits(
            house.limits, holder_id=f"{name} of the simulation", monotonic=house.loop.time
        )
        self._limits = LimitLink(limits, self.broker)
        self._engine = WorkerProcess(self._build, new_id=house.new_id, version="simulated")

    @property
    def worker_id(self) -> str:
        """Under which it owns runs now."""
        return self._engine.worker_id

    async def live(self) -> None:
        """From boot until it dies; a process that cannot boot ends."""
        try:
            await self._engine.boot(self.name)
        except Unavailable as error:
            self.house.note("boot failed", self.name, str(error))
            self.house.died(self)
            return
        self.house.note("joined", self.name, self.worker_id)
        self.ready = True
        self._consuming = asyncio.ensure_future(self._consume())
        self._beating = asyncio.ensure_future(self._beat())

    async def drain(self) -> None:
        """A warm shutdown."""
        self.ready = False
        if self._consuming is not None:
            self._consuming.cancel()
        await self._engine.drain(GRACE_SECONDS, self._stop_beating)
        self.house.note("left", self.name)
        self.house.died(self)

    # --- messages ---------------------------------------------------------------------------------

    async def _consume(self) -> None:
        while True:
            while self._taken >= CAPACITY:
                self._slot_came.clear()
                await self._slot_came.wait()
            hint = await self.house.broker.take(self)
            try:
                await self._accept(hint)
            except Exception as error:  # noqa: BLE001 - the next message must come
                self.house.note("message dropped", hint.run_id, repr(error))

    async def _accept(self, hint: Hint) -> None:
        """Acknowledge early, as the pool does, and hand over to the engine."""
        if crashpoints.hook is not None:
            await self._reach("before_ack", hint)
            await self._reach("after_ack", hint)
        self._taken += 1
        self._engine.take(_hop(hint), self._hop_is_over)

    async def _reach(self, point: str, hint: Hint) -> None:
        await crashpoints.reach(
            Reached(point=point, run_id=hint.run_id, hop_id=hint.hop_id, worker=self.worker_id)
        )

    def _hop_is_over(self, error: BaseException | None = None) -> None:
        self._taken -= 1
        self._slot_came.set()

    # --- signs of life ----------------------------------------------------------------------------

    async def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                if not await self._engine.beat(self.store):
                    self.house.note("declared dead", self.name, self.worker_id)
                    self._engine.declared_dead()
            except Unavailable:
                continue

    # --- wiring -----------------------------------------------------------------------------------

    async def _build(self, worker_id: str) -> Parts:
        house, store = self.house, self.store
        programs = house.programs_of(store)
        redeliverer = Redeliverer(self.broker, programs)
        recovery = Recovery(
            store, self.locks, self.broker, redeliverer, self.broker.letters, TIMES,
            jitter=house.chance.random,
        )  # fmt: skip
        health = MemoryHealth(house.health, holder_id=worker_id)
        gate = SharedGate(self._limits, house.apis, HealthLink(health, self.broker))
        children = Children(store, programs, redeliverer.publish, new_id=house.new_id, max_depth=3)
        deps = Deps(
            worker_id=worker_id,
            journal=Batcher(store.record, name="journal", largest=LARGEST_BATCH),
            waits=Batcher(store.await_answers, name="waits", largest=LARGEST_BATCH),
            outbox=Batcher(self._publish, name="hints", largest=LARGEST_BATCH),
            gate=gate, http=ApiLink(house.desk, self),
            tasks=ApiLink(house.desk, self), dead_letters=self.broker.letters, events=NoEvents(),
            clock=DatabaseClock(monotonic=house.loop.time), limits=house.options.inline,
            new_id=house.new_id, children=children,
            lifeline=Lifeline(
                trusted_seconds=TIMES.dead_after * 2 / 3, monotonic=house.loop.time
            ),
            jitter=house.chance.random, pauses=(pauses := Pauses()),
        )  # fmt: skip
        watch = PauseWatch(store, pauses, redeliverer.publish, every_seconds=TIMES.pass_every)

        async def republish(redeliveries: Sequence[Redelivery]) -> None:
            await redeliverer.publish(redeliveries)

        async def close() -> None:
            await gate.aclose()

        async def open_heartbeat_store() -> Store:
            return store

        return Parts(
            deps=deps, store=store, locks=self.locks, programs=programs, republish=republish,
            close=close, open_heartbeat_store=open_heartbeat_store, work_on_job=_no_jobs,
            background=[
                recovery.run_quick_passes, recovery.run_slow_passes, watch.run_passes,
            ],
        )  # fmt: skip

    async def _publish(self, hints: Sequence[Hint]) -> Sequence[None]:
        """As wiring does it: the sweep finds what could not be published."""
        try:
            await self.broker.publish(hints)
        except Unavailable as error:
            self.house.note("hints postponed", self.name, str(len(hints)), str(error))
        return [None] * len(hints)


async def _no_jobs(job_id: str, turn: int) -> None:
    raise AssertionError(f"nobody started a job: {job_id}, turn {turn}")


def _hop(hint: Hint) -> Hop:
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, label=hint.label, task=hint.task,
        queue=hint.queue, runs=((hint.run_id, hint.epoch),),
    )  # fmt: skip
