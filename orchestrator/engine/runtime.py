"""The engine of one worker process as Celery's side sees it: a loop in a thread of its own.

Celery's consumer stays in the main thread and talks to this through four thread-safe methods. The
heartbeat has a third thread (heartbeat.py); what happens on the loop is `WorkerProcess`.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import uvloop

from orchestrator.engine.heartbeat import Heartbeat, LoopPulse
from orchestrator.engine.process import Build, WorkerProcess
from orchestrator.ports import ActiveRun, Done, Hop, Store

START_TIMEOUT_SECONDS = 60.0
LATE_SECONDS = 3.0
"""A loop that has not moved for so long takes up nothing new."""
GARBAGE_THRESHOLDS = (100_000, 20, 20)
"""Objects made before the youngest generation is searched for cycles, and the older ones' shares.

A step makes about a hundred objects and no cycle. With Python's own 700, a tenth of a busy
worker's time went into searching them; with 20,000 still a twentieth.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeOptions:
    """Times in seconds."""

    heartbeat_seconds: float
    stuck_loop_seconds: float
    version: str
    on_stuck: Callable[[], None]
    """Ends the process; called on the heartbeat's thread."""


class EngineRuntime:
    """Implements ports.Runtime."""

    def __init__(self, build: Build, *, new_id: Callable[[], str], options: RuntimeOptions) -> None:
        self._options = options
        self._process = WorkerProcess(build, new_id=new_id, version=options.version)
        self._heartbeat: Heartbeat | None = None
        self._pulse = LoopPulse()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="engine", daemon=True)

    @property
    def worker_id(self) -> str:
        """Id under which this process owns runs now."""
        return self._process.worker_id

    def start(self, *, name: str) -> None:
        """Start the loop thread and register. Raises Unavailable or InvalidSetting."""
        self._thread.start()
        self._call(self._boot(name)).result(START_TIMEOUT_SECONDS)
        gc.freeze()  # modules, settings and pools live as long as the process
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    def count_reserved_with(self, reserved: Callable[[], int]) -> None:
        """Tell how many hints the process has prefetched and not taken up yet."""
        self._process.count_reserved_with(reserved)

    def deliver(self, hop: Hop, done: Done) -> None:
        """Take a hop up; returns at once."""
        self._loop.call_soon_threadsafe(self._process.take, hop, done)

    @property
    def in_hand(self) -> int:
        """How many runs. Any thread may ask."""
        return self._process.in_hand

    def active(self) -> list[ActiveRun]:
        """The runs in hand. A copy, so that any thread may look."""
        return self._process.active()

    @property
    def fit(self) -> bool:
        """See ports.Runtime."""
        return self._pulse.still_seconds < LATE_SECONDS and self._process.fit

    def drain(self, *, grace_seconds: float) -> None:
        """Hand runs back, end, and stop the loop. Safe to call once, from any other thread."""
        try:
            draining = self._process.drain(grace_seconds, self._stop_beating)
            self._call(draining).result(grace_seconds + 30.0)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10.0)

    def _call(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    # --- on the loop ------------------------------------------------------------------------------

    async def _boot(self, name: str) -> None:
        await self._process.boot(name)
        self._process.spawn_background(self._pulse.run())
        self._start_heartbeat()

    def _start_heartbeat(self) -> None:
        store: Store | None = None

        async def beat() -> bool:
            nonlocal store
            store = store or await self._process.parts.open_heartbeat_store()
            return await self._process.beat(store)

        async def close() -> None:
            if store is not None:
                await store.close()

        self._heartbeat = Heartbeat(
            beat, close, pulse=self._pulse, every_seconds=self._options.heartbeat_seconds,
            stuck_after_seconds=self._options.stuck_loop_seconds, on_lost=self._lost_ownership,
            on_stuck=self._options.on_stuck,
        )  # fmt: skip
        self._heartbeat.start()

    def _lost_ownership(self) -> None:
        self._loop.call_soon_threadsafe(self._process.declared_dead)

    async def _stop_beating(self) -> None:
        if self._heartbeat is not None:
            await asyncio.to_thread(self._heartbeat.stop)
