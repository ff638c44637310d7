"""One worker process of a lab: the real engine, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.engine.process import Parts, WorkerProcess
from orchestrator.testing.loop import Process, VirtualLoop
from orchestrator.testing.memory.broker import MemoryBroker, hop_of
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.process import HEARTBEAT_SECONDS, Surroundings


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker process is started."""

    loop: VirtualLoop
    broker: MemoryBroker
    locks: MemoryLocks
    surroundings: Callable[[Worker], Surroundings]
    new_id: Callable[[], str]


class Worker(Process):
    """Takes messages, drives runs, beats, and dies when it is killed."""

    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place.loop, name)
        self._place = place
        self._arrived = asyncio.Event()
        self._engine = WorkerProcess(self._build, new_id=place.new_id, version="tested")

    def wake(self) -> None:
        """There is something on the broker."""
        self.call(self._arrived.set)

    def kill(self) -> None:
        """SIGKILL: its connections are closed, and nothing of it runs again."""
        super().kill()
        self._place.locks.die()

    async def live(self) -> None:
        """From its start until it dies."""
        await self._engine.boot(self.name)
        beating = asyncio.ensure_future(self._beat())
        try:
            await self._consume()
        finally:
            beating.cancel()

    async def _consume(self) -> None:
        broker = self._place.broker
        while True:
            self._arrived.clear()
            for queue in list(broker.hints):
                while (hint := broker.take(queue)) is not None:
                    self._engine.take(hop_of(hint), _over)
            await self._arrived.wait()

    async def _beat(self) -> None:
        store = self._engine.parts.store
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if not await self._engine.beat(store):
                self._engine.declared_dead()

    async def _build(self, worker_id: str) -> Parts:
        return self._place.surroundings(self).parts(worker_id)


def _over(error: BaseException | None = None) -> None:
    """What came of a hop stands in the run."""
