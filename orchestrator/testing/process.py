"""What a worker process is made of on virtual time: the real engine over the parts it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.definitions.programs import Programs
from orchestrator.engine.batching import Batcher
from orchestrator.engine.children import Children
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.deps import Deps, Limits
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.maps import Maps
from orchestrator.engine.pausing import Pauses, PauseWatch
from orchestrator.engine.process import Parts
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    DeadLetterQueue,
    Hint,
    HintPublisher,
    Redelivery,
    StepEnd,
    Store,
    Transport,
    WorkerLocks,
)
from orchestrator.service.recovery import Recovery, RecoveryTimes
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.surveying import Surveyor

LIMITS = Limits(
    max_inline_steps=50, max_inline_seconds=20.0, short_wait_seconds=2.0,
    gate_patience_seconds=5.0, max_claims=25, max_output_bytes=2_000,
)  # fmt: skip
TIMES = RecoveryTimes(pass_every=1.0, dead_after=6.0, lost_after=5.0)
HEARTBEAT_SECONDS = 2.0
LARGEST_BATCH = 500
MOST_LEVELS = 3  # of runs that steps of other runs have begun
MOST_BRANCHES = 20  # of one block
MOST_ITEMS = 10_000  # of one map over data


class NoEvents:
    """Implements StepEvents: nobody hears what is told."""

    watched = True

    def step_started(self, hint: Hint, *, by_message: bool = False) -> None:
        """Nothing."""

    def step_revived(self, hint: Hint) -> None:
        """Nothing."""

    def step_ended(self, hint: Hint, end: StepEnd, *, seconds: float, detail: str = "") -> None:
        """Nothing."""

    def step_left(self, hint: Hint) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What one process finds around it. Times in seconds."""

    store: Store
    locks: WorkerLocks
    hints: HintPublisher
    letters: DeadLetterQueue
    gate: SharedGate
    http: Transport
    tasks: Transport
    programs: Programs
    monotonic: Callable[[], float]
    new_id: Callable[[], str]
    jitter: Callable[[], float]
    limits: Limits = LIMITS
    on_postponed: Callable[[int, Unavailable], None] = field(default=lambda hints, error: None)
    """Told of hints that the broker did not take; the sweep finds their runs."""

    def parts(self, worker_id: str) -> Parts:
        """The process's parts, wired as `wiring.py` wires those of a real one."""
        redeliverer = Redeliverer(self.hints, self.programs)
        deps = self._deps(worker_id, pauses := Pauses(), redeliverer)
        recovery = Recovery(
            self.store, self.locks, self.hints, redeliverer, self.letters, TIMES,
            jitter=self.jitter, look_after_maps=deps.children.maps.look_after,
        )  # fmt: skip
        watch = PauseWatch(self.store, pauses, redeliverer.publish)
        surveyor = Surveyor(
            self.store, TIMES.of_surveys, every_seconds=TIMES.pass_every, jitter=self.jitter
        )

        async def republish(redeliveries: Sequence[Redelivery]) -> None:
            await redeliverer.publish(redeliveries)

        async def open_heartbeat_store() -> Store:
            return self.store

        return Parts(
            deps=deps, store=self.store, locks=self.locks,
            programs=self.programs, republish=republish, close=self.gate.aclose,
            open_heartbeat_store=open_heartbeat_store, work_on_job=_no_jobs, surveys=surveyor,
            background=[
                surveyor.run_passes, partial(recovery.run_quick_passes, surveyor),
                partial(recovery.run_slow_passes, surveyor), partial(watch.run_passes, surveyor),
            ],
        )  # fmt: skip

    def _deps(self, worker_id: str, pauses: Pauses, redeliverer: Redeliverer) -> Deps:
        clock = DatabaseClock(monotonic=self.monotonic)
        outbox = Batcher(self._publish, name="hints", largest=LARGEST_BATCH)
        maps = Maps(
            self.store, self.programs, redeliverer.publish, outbox.submit, new_id=self.new_id,
            now=clock.now,
        )  # fmt: skip
        children = Children(
            self.store, self.programs, redeliverer.publish, maps, new_id=self.new_id,
            max_depth=MOST_LEVELS, max_branches=MOST_BRANCHES, max_map_items=MOST_ITEMS,
        )  # fmt: skip
        return Deps(
            worker_id=worker_id,
            journal=Batcher(self.store.record, name="journal", largest=LARGEST_BATCH),
            waits=Batcher(self.store.await_answers, name="waits", largest=LARGEST_BATCH),
            outbox=outbox,
            gate=self.gate, http=self.http, tasks=self.tasks, dead_letters=self.letters,
            events=NoEvents(), clock=clock, limits=self.limits,
            new_id=self.new_id, jitter=self.jitter, pauses=pauses, children=children,
            lifeline=Lifeline(
                trusted_seconds=TIMES.dead_after * 2 / 3, monotonic=self.monotonic
            ),
        )  # fmt: skip

    async def _publish(self, hints: Sequence[Hint]) -> Sequence[None]:
        try:
            await self.hints.publish(hints)
        except Unavailable as error:
            self.on_postponed(len(hints), error)
        return [None] * len(hints)


async def _no_jobs(job_id: str, turn: int) -> None:
    raise AssertionError(f"nobody started a job: {job_id}, turn {turn}")
