"""The engine of one worker process: a loop thread, the runs in hand, and its place in the table.

    start ── register ── hold lock ── heartbeat ── background passes ── ready
    deliver ── claim (batched) ── drive ── done
    drain ── hand over ── wait for calls in flight ── deregister ── publish ── stop

Celery's consumer stays in the main thread and talks to this through four thread-safe methods.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
import uvloop

from orchestrator.core.plan import Plan
from orchestrator.definitions.programs import Programs
from orchestrator.engine.batching import Batcher
from orchestrator.engine.deps import Deps
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.heartbeat import Heartbeat, LoopPulse
from orchestrator.engine.standing import give_back
from orchestrator.errors import StaleOwner, Unavailable
from orchestrator.ports import (
    ActiveRun,
    ClaimedRun,
    Done,
    Hop,
    Redelivery,
    Store,
    WorkerLocks,
    WorkerRecord,
)

log = structlog.get_logger(__name__)

START_TIMEOUT_SECONDS = 60.0
LARGEST_CLAIM = 200
LAST_WRITES_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What wiring builds inside the loop for one process."""

    deps: Deps
    store: Store
    locks: WorkerLocks
    programs: Programs
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]]  # each runs until cancelled
    republish: Callable[[Sequence[Redelivery]], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    open_heartbeat_store: Callable[[], Awaitable[Store]]  # called on the heartbeat's own loop


class Build(Protocol):
    """Builds the parts for a worker of this id; runs inside the engine's loop."""

    async def __call__(self, worker_id: str) -> Parts: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeOptions:
    """Times in seconds."""

    heartbeat_seconds: float
    stuck_loop_seconds: float
    version: str


class EngineRuntime:
    """Implements ports.Runtime."""

    def __init__(self, build: Build, *, new_id: Callable[[], str], options: RuntimeOptions) -> None:
        self._build = build
        self._new_id = new_id
        self._options = options
        self._worker_id = new_id()
        self._name = ""
        self._parts: Parts | None = None
        self._drivers: dict[str, RunDriver] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._draining = False
        self._joined = False
        self._heartbeat: Heartbeat | None = None
        self._reserved: Callable[[], int] = lambda: 0
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="engine", daemon=True)

    # --- thread-safe face -------------------------------------------------------------------------

    @property
    def worker_id(self) -> str:
        """Id under which this process owns runs now."""
        return self._worker_id

    def start(self, *, name: str) -> None:
        """Start the loop thread and register. Raises Unavailable or InvalidSetting."""
        self._name = name
        self._thread.start()
        self._call(self._boot()).result(START_TIMEOUT_SECONDS)

    def count_reserved_with(self, reserved: Callable[[], int]) -> None:
        """Tell how many hints the process has prefetched and not taken up yet."""
        self._reserved = reserved

    def deliver(self, hop: Hop, done: Done) -> None:
        """Take a hop up; returns at once."""
        self._loop.call_soon_threadsafe(self._take, hop, done)

    def active(self) -> list[ActiveRun]:
        """The runs in hand. A copy, so that any thread may look."""
        return [driver.activity for driver in list(self._drivers.values())]

    def drain(self, *, grace_seconds: float) -> None:
        """Hand runs back, end, and stop the loop. Safe to call once, from any other thread."""
        try:
            self._call(self._drain(grace_seconds)).result(grace_seconds + 30.0)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10.0)

    def _call(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    # --- start ------------------------------------------------------------------------------------

    async def _boot(self) -> None:
        parts = self._parts = await self._build(self._worker_id)
        self._claims: Batcher[tuple[str, int], ClaimedRun | None] = Batcher(
            self._claim, name="claims", largest=LARGEST_CLAIM, abandonable=True
        )
        await self._join()
        pulse = LoopPulse()
        self._spawn_background(pulse.run())
        self._start_heartbeat(pulse)
        for work in parts.background:
            self._spawn_background(work())
        log.info("worker.joined", worker=self._worker_id, name=self._name)

    async def _join(self) -> None:
        """Enter the workers table under the current id."""
        parts = self._require_parts()
        await parts.locks.hold(self._worker_id)
        sent_at, now = time.monotonic(), await parts.store.now()
        parts.deps.clock.correct(now)
        await parts.store.register(
            WorkerRecord(
                id=self._worker_id, name=self._name, pid=os.getpid(), started_at=now,
                heartbeat_at=now, active_runs=0, reserved=0, version=self._options.version,
            )
        )  # fmt: skip
        parts.deps.lifeline.heard(sent_at)
        self._joined = True

    def _start_heartbeat(self, pulse: LoopPulse) -> None:
        parts = self._require_parts()
        store: Store | None = None

        async def beat() -> bool:
            nonlocal store
            if not self._joined:
                return True  # between two ids there is nothing to prolong
            store = store or await parts.open_heartbeat_store()
            sent_at = time.monotonic()
            alive = await store.heartbeat(
                self._worker_id, active_runs=len(self._drivers), reserved=self._reserved()
            )
            if alive:
                parts.deps.lifeline.heard(sent_at)
            parts.deps.clock.correct(await store.now())
            return alive

        async def close() -> None:
            if store is not None:
                await store.close()

        self._heartbeat = Heartbeat(
            beat, close, pulse=pulse, every_seconds=self._options.heartbeat_seconds,
            stuck_after_seconds=self._options.stuck_loop_seconds,
            on_lost=self._lost_ownership,
        )  # fmt: skip
        self._heartbeat.start()

    def _lost_ownership(self) -> None:
        self._loop.call_soon_threadsafe(self._declared_dead)

    def _spawn_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(asyncio.ensure_future(work))

    # --- hops -------------------------------------------------------------------------------------

    def _take(self, hop: Hop, done: Done) -> None:
        task = self._loop.create_task(self._run_hop(hop, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_hop(self, hop: Hop, done: Done) -> None:
        failure: BaseException | None = None
        try:
            for run_id, epoch in hop.runs:
                await self._run(hop, run_id, epoch)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failure = error
            log.exception("hop.failed", hop=hop.hop_id, label=hop.label)
        finally:
            done(failure)

    async def _run(self, hop: Hop, run_id: str, epoch: int) -> None:
        if self._draining:
            return  # nobody has claimed it, so the sweep publishes it again
        claimed = await self._claims.submit((run_id, epoch))
        if claimed is None:
            log.debug("hint.dropped", run=run_id, epoch=epoch)
            return
        with structlog.contextvars.bound_contextvars(run=run_id, tenant=claimed.run.tenant):
            await self._drive(claimed, hop)

    async def _drive(self, claimed: ClaimedRun, hop: Hop) -> None:
        run_id = claimed.run.id
        driver = self._drivers[run_id] = await self._driver(claimed, hop)
        if self._draining:
            driver.hand_over()
        try:
            await driver.drive()
        except StaleOwner as error:
            log.warning("run.taken_over", why=str(error))
        except Exception:
            # Its claims count up, so a run that always fails here is escalated in the end.
            log.exception("run.dropped")
            await driver.release_as_last_committed()
            raise
        finally:
            self._drivers.pop(run_id, None)

    async def _driver(self, claimed: ClaimedRun, hop: Hop) -> RunDriver:
        parts = self._require_parts()
        try:
            program = await parts.programs.get(claimed.run.workflow_id)
            return RunDriver(claimed, hop, program, parts.deps)
        except Exception:
            # Another version of this program may be able to read the plan: nobody is to blame.
            log.exception("run.unreadable")
            saga = claimed.saga(Plan(workflow=claimed.run.workflow, steps=()))
            run = claimed.run
            await give_back(run.id, run.epoch, saga, parts.deps, driven=False)
            raise

    async def _claim(self, hints: Sequence[tuple[str, int]]) -> Sequence[ClaimedRun | None]:
        claimed = await self._require_parts().store.claim(hints, owner=self._worker_id)
        by_id = {record.run.id: record for record in claimed}
        # A hint that came twice in one batch is answered once.
        return [by_id.pop(run_id, None) for run_id, _ in hints]

    # --- death and end ----------------------------------------------------------------------------

    def _declared_dead(self) -> None:
        """Others own our runs by now: drop them all and join again under a new id."""
        if self._draining or not self._joined:
            return
        self._joined = False
        for task in list(self._tasks):
            task.cancel()
        self._drivers.clear()
        self._worker_id = self._new_id()
        parts = self._require_parts()
        self._parts = replace(parts, deps=replace(parts.deps, worker_id=self._worker_id))
        self._spawn_background(self._join_until_done())

    async def _join_until_done(self) -> None:
        while True:
            try:
                return await self._join()
            except Unavailable as error:
                log.warning("worker.join_postponed", why=str(error))
                await asyncio.sleep(1.0)

    async def _drain(self, grace_seconds: float) -> None:
        self._draining = True
        parts = self._require_parts()
        for driver in list(self._drivers.values()):
            driver.hand_over()
        await self._end_tasks(grace_seconds)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._heartbeat is not None:
            await asyncio.to_thread(self._heartbeat.stop)
        await self._leave()
        await parts.close()

    async def _end_tasks(self, grace_seconds: float) -> None:
        """Let calls end within the grace time, then give up those that have not.

        Drivers that only have something to record get a little longer: what is not recorded is in
        doubt.
        """
        await self._tasks_end(grace_seconds)
        for driver in list(self._drivers.values()):
            driver.abandon_call()
        await self._tasks_end(LAST_WRITES_SECONDS)
        for task in list(self._tasks):  # the database is away
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tasks_end(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    async def _leave(self) -> None:
        """Leave the table; whatever we still own is published for others."""
        parts = self._require_parts()
        try:
            left = await parts.store.deregister(self._worker_id)
            await parts.republish(left)
        except Unavailable as error:
            log.warning("worker.left_unregistered", why=str(error))  # its free lock tells others
        await parts.locks.release()
        log.info("worker.left", worker=self._worker_id)

    def _require_parts(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("the runtime has not been started")
        return self._parts
