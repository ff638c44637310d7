"""One worker process from inside: the runs in hand and its place in the table. All on one loop.

    boot ── hold lock ── register ── background passes ── ready
    take ── claim (batched) ── drive ── done
    drain ── hand over ── wait for calls in flight ── deregister ── publish

`EngineRuntime` puts it on a loop in a thread of its own and beats its heart from another.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from orchestrator import crashpoints
from orchestrator.core.plan import Plan
from orchestrator.crashpoints import Reached
from orchestrator.definitions.programs import Programs
from orchestrator.engine.answering import broken
from orchestrator.engine.batching import Batcher
from orchestrator.engine.deps import Deps
from orchestrator.engine.distrusting import distrustful
from orchestrator.engine.driver import RunDriver
from orchestrator.engine.lacking import CodeWatch
from orchestrator.engine.shortcut import Shortcut
from orchestrator.engine.standing import give_back
from orchestrator.errors import StaleOwner, Unavailable, Untrusted
from orchestrator.ports import (
    JOB_TASK,
    ActiveRun,
    ClaimedRun,
    Done,
    Hop,
    Redelivery,
    Store,
    WorkerLocks,
    WorkerRecord,
)
from orchestrator.ports.surveys import Surveys
from orchestrator.telemetry.redact import of_run

log = structlog.get_logger(__name__)

LARGEST_CLAIM = 200
LAST_WRITES_SECONDS = 3.0
MOST_CLOCK_READINGS = 3  # at the start, until one is prompt


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
    surveys: Surveys
    work_on_job: Callable[[str, int], Awaitable[None]]  # a batch of this job, at this turn
    shortcut: Shortcut | None = None  # for wake-ups that this process finds itself


class Build(Protocol):
    """Builds the parts for a worker of this id; runs inside the engine's loop."""

    async def __call__(self, worker_id: str) -> Parts: ...


class WorkerProcess:
    """The runs that one process has in hand. Not thread-safe, but for `active` and `beat`."""

    def __init__(self, build: Build, *, new_id: Callable[[], str], version: str) -> None:
        self._build = build
        self._new_id = new_id
        self._version = version
        self._worker_id = new_id()
        self._name = ""
        self._parts: Parts | None = None
        self._drivers: dict[str, RunDriver] = {}
        self._epochs: dict[str, int] = {}  # of the runs in hand, from their claim's answer on
        self._tasks: dict[asyncio.Task[None], None] = {}  # in order of arrival: it repeats itself
        self._background: list[asyncio.Task[None]] = []
        self._draining = False
        self._joined = False
        self._reserved: Callable[[], int] = lambda: 0

    @property
    def worker_id(self) -> str:
        """Id under which this process owns runs now."""
        return self._worker_id

    @property
    def parts(self) -> Parts:
        """What it was built from. Raises RuntimeError before `boot`."""
        if self._parts is None:
            raise RuntimeError("the worker process has not been started")
        return self._parts

    def count_reserved_with(self, reserved: Callable[[], int]) -> None:
        """Tell how many hints the process has prefetched and not taken up yet."""
        self._reserved = reserved

    @property
    def in_hand(self) -> int:
        """How many runs. Any thread may ask."""
        return len(self._drivers)

    @property
    def fit(self) -> bool:
        """Whether the database has answered lately. Any thread may ask."""
        return not self.parts.deps.lifeline.doubtful

    def active(self) -> list[ActiveRun]:
        """The runs in hand. A copy, so that any thread may look."""
        return [driver.activity for driver in list(self._drivers.values())]

    # --- start ------------------------------------------------------------------------------------

    async def boot(self, name: str) -> None:
        """Build the parts, enter the workers table, start the background passes."""
        self._name = name
        parts = self._parts = await self._build(self._worker_id)
        self._claims: Batcher[tuple[str, int], ClaimedRun | None] = Batcher(
            self._claim, name="claims", largest=LARGEST_CLAIM, abandonable=True,
            meter=parts.deps.meter,
        )  # fmt: skip
        parts.deps.pauses.on_change = self._heed_pauses
        await self._join()
        if parts.shortcut is not None:
            parts.shortcut.open(self.take, busy=self._has_no_room)
        for work in parts.background:
            self.spawn_background(work())
        if parts.deps.code is not None:
            watch = CodeWatch(parts.deps.code, self.take)
            self.spawn_background(watch.run_passes(parts.surveys))
        log.info("worker.joined", worker=self._worker_id, name=self._name)

    def _has_no_room(self) -> bool:
        """Whether what comes now would wait here, or pass by hints that do."""
        return self._draining or not self._joined or self._reserved() > 0

    async def _join(self) -> None:
        """Enter the workers table under the current id."""
        parts = self.parts
        await parts.locks.hold(self._worker_id)
        for _ in range(MOST_CLOCK_READINGS):
            if await self._read_clock(parts.store):
                break
        sent_at, now = parts.deps.clock.monotonic(), parts.deps.clock.now()
        await parts.store.register(
            WorkerRecord(
                id=self._worker_id, name=self._name, pid=os.getpid(), started_at=now,
                heartbeat_at=now, active_runs=0, reserved=0, version=self._version,
            )
        )  # fmt: skip
        parts.deps.lifeline.heard(sent_at)
        self._joined = True

    def spawn_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until the process ends."""
        self._background.append(asyncio.ensure_future(work))

    async def beat(self, store: Store) -> bool:
        """One sign of life, from any loop that `store` belongs to. False: declared dead."""
        if not self._joined:
            return True  # between two ids there is nothing to prolong
        deps = self.parts.deps
        sent_at = deps.clock.monotonic()
        alive = await store.heartbeat(
            self._worker_id, active_runs=len(self._drivers), reserved=self._reserved()
        )
        if alive:
            deps.lifeline.heard(sent_at)
        await self._read_clock(store)
        return alive

    async def _read_clock(self, store: Store) -> bool:
        clock = self.parts.deps.clock
        asked_at = clock.monotonic()
        return clock.correct(await store.now(), asked_at=asked_at)

    # --- hops -------------------------------------------------------------------------------------

    def take(self, hop: Hop, done: Done) -> None:
        """Take a hop up; returns at once."""
        task = asyncio.ensure_future(self._run_hop(hop, done))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _run_hop(self, hop: Hop, done: Done) -> None:
        failure: BaseException | None = None
        try:
            for known, number in hop.runs:
                if hop.task == JOB_TASK:
                    await self._work_on_job(known, number)
                else:
                    await self._run(hop, known, number)
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
        if crashpoints.hook is not None:
            await self._reach("before_claim", hop, run_id)
        claimed = await self._claims.submit((run_id, epoch))
        if claimed is None:
            log.debug("hint.dropped", run=run_id, epoch=epoch)
            return
        try:
            about = {"run": run_id, "tenant": claimed.run.tenant}
            with of_run(), structlog.contextvars.bound_contextvars(**about):
                await self._drive(claimed, hop)
        finally:
            if self._epochs.get(run_id) == claimed.run.epoch:
                del self._epochs[run_id]

    async def _work_on_job(self, job_id: str, turn: int) -> None:
        if self._draining:
            return  # as with a run: the sweep calls again
        try:
            await self.parts.work_on_job(job_id, turn)
        except Unavailable as error:
            log.warning("job.postponed", job=job_id, why=str(error))

    async def _reach(self, point: str, hop: Hop, run_id: str) -> None:
        await crashpoints.reach(
            Reached(point=point, run_id=run_id, hop_id=hop.hop_id, worker=self._worker_id)
        )

    async def _drive(self, claimed: ClaimedRun, hop: Hop) -> None:
        run_id = claimed.run.id
        driver = self._drivers[run_id] = await self._driver(claimed, hop)
        if self._draining:
            driver.hand_over()
        try:
            await driver.drive()
        except StaleOwner as error:
            log.warning("run.taken_over", why=str(error))
        except Exception as error:
            # Its claims count up, so a run that always fails here is escalated in the end.
            log.exception("run.dropped")
            await driver.release_as_last_committed(broken("driving it", error))
            raise
        finally:
            self._drivers.pop(run_id, None)

    async def _driver(self, claimed: ClaimedRun, hop: Hop) -> RunDriver:
        parts = self.parts
        try:
            if crashpoints.hook is not None:
                await self._reach("after_claim", hop, claimed.run.id)
            program = await parts.programs.of_run(claimed.run.workflow_id, claimed.run.edits)
            return RunDriver(claimed, hop, program, parts.deps)
        except Untrusted as error:
            log.warning("run.untrusted", why=str(error))
            return distrustful(claimed, hop, parts.deps, error)
        except Exception as error:
            # Another version of this program may be able to read the plan: nobody is to blame.
            log.exception("run.unreadable")
            saga = claimed.saga(Plan(workflow=claimed.run.workflow, steps=()))
            await give_back(
                claimed.run, saga, parts.deps, why=broken("the reading of its plan", error),
                seq=claimed.run.audit_seq + 1, driven=False,
            )  # fmt: skip
            raise

    async def _claim(self, hints: Sequence[tuple[str, int]]) -> Sequence[ClaimedRun | None]:
        # A doubled hint of a run in hand: unsure of an unanswered claim, the store might take the
        # run from its own driver, and what that has under way would be in doubt.
        fresh = [hint for hint in hints if hint[1] >= self._epochs.get(hint[0], 0)]
        claimed = await self.parts.store.claim(fresh, owner=self._worker_id)
        by_id = {record.run.id: record for record in claimed}
        await self._hold_paused([hint for hint in fresh if hint[0] not in by_id])
        self._epochs.update((record.run.id, record.run.epoch) for record in claimed)
        self._meter_claims(claimed)
        # A hint that came twice in one batch is answered once.
        return [by_id.pop(run_id, None) for run_id, _ in hints]

    def _meter_claims(self, claimed: Sequence[ClaimedRun]) -> None:
        deps = self.parts.deps
        now = deps.clock.now()
        for run in (record.run for record in claimed):
            if run.published_at is not None:
                seconds = max((now - run.published_at).total_seconds(), 0.0)
                deps.meter.claimed(run.lane, run.direction, seconds)

    async def _hold_paused(self, refused: Sequence[tuple[str, int]]) -> None:
        """Those of them that were refused for a pause need no message until it is over."""
        if not (refused and self.parts.deps.pauses):
            return
        try:
            held = await self.parts.store.hold_paused(refused)
        except Unavailable as error:  # the sweep gives them again
            log.warning("runs.not_held", runs=len(refused), why=str(error))
            return
        if held:
            log.info("runs.held", runs=len(held))

    def _heed_pauses(self) -> None:
        for driver in list(self._drivers.values()):
            driver.heed_pauses()

    # --- death and end ----------------------------------------------------------------------------

    def declared_dead(self) -> None:
        """Others own our runs by now: drop them all and join again under a new id."""
        if self._draining or not self._joined:
            return
        self._joined = False
        for task in list(self._tasks):
            task.cancel()
        self._drivers.clear()
        self._epochs.clear()
        self._worker_id = self._new_id()
        parts = self.parts
        self._parts = replace(parts, deps=replace(parts.deps, worker_id=self._worker_id))
        self.spawn_background(self._join_until_done())

    async def _join_until_done(self) -> None:
        while True:
            try:
                return await self._join()
            except Unavailable as error:
                log.warning("worker.join_postponed", why=str(error))
                await asyncio.sleep(1.0)

    async def drain(
        self, grace_seconds: float, stop_beating: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Hand the runs back, let calls in flight end within the grace time, leave the table.

        `stop_beating` is awaited when all runs are out of hand.
        """
        self._draining = True
        for driver in list(self._drivers.values()):
            driver.hand_over()
        await self._end_tasks(grace_seconds)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if stop_beating is not None:
            await stop_beating()
        await self._leave()
        await self.parts.close()

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
        parts = self.parts
        try:
            left = await parts.store.deregister(self._worker_id)
            await parts.republish(left)
        except Unavailable as error:
            log.warning("worker.left_unregistered", why=str(error))  # its free lock tells others
        await parts.locks.release()
        log.info("worker.left", worker=self._worker_id)
