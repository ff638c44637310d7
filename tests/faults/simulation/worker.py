"""One worker process: the real engine over a simulated store, broker and API, and what keeps it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator import crashpoints
from orchestrator.crashpoints import Reached
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.process import Parts, WorkerProcess
from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, Hop
from orchestrator.testing.loop import Process
from orchestrator.testing.memory.health import MemoryHealth
from orchestrator.testing.memory.limits import MemoryLimits
from orchestrator.testing.process import HEARTBEAT_SECONDS, Surroundings
from tests.faults.simulation.api import ApiLink
from tests.faults.simulation.broker import BrokerLink
from tests.faults.simulation.small_parts import HealthLink, LimitLink, LockLink

if TYPE_CHECKING:
    from tests.faults.simulation.house import House

CAPACITY = 60  # hops in hand at a time
GRACE_SECONDS = 2.0


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
        house = self.house
        health = MemoryHealth(house.health, holder_id=worker_id)
        gate = SharedGate(self._limits, house.apis, HealthLink(health, self.broker))
        return Surroundings(
            store=self.store, locks=self.locks, hints=self.broker, letters=self.broker.letters,
            gate=gate, http=ApiLink(house.desk, self), tasks=ApiLink(house.desk, self),
            programs=house.programs_of(self.store), monotonic=house.loop.time,
            new_id=house.new_id, jitter=house.chance.random, limits=house.options.inline,
            on_postponed=self._postponed,
        ).parts(worker_id)  # fmt: skip

    def _postponed(self, hints: int, error: Unavailable) -> None:
        self.house.note("hints postponed", self.name, str(hints), str(error))


def _hop(hint: Hint) -> Hop:
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, label=hint.label, task=hint.task,
        queue=hint.queue, runs=((hint.run_id, hint.epoch),),
    )  # fmt: skip
