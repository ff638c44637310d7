"""The recovery passes that every worker makes: dead workers, due waits, lost hints, dead letters.

* **Death**: a worker whose lock is free, or whose heartbeat is overdue, is dead. Its runs get a
  new epoch and are published again. The database picks one recoverer for each run.
* **Due waits**: waiting and parked runs whose time has come. Workers' alarm clocks (`due.py`) are
  there before; this pass makes no use of what they remember.
* **Untold children**: runs that have ended while whoever told their parents died, or could not.
  Likewise branches that nobody has cancelled although another one of their block has failed.
* **Maps**: ends of items that nobody has counted, and items that nobody has begun.
* **Lost hints**: a message can vanish while every worker is well (reset, eviction, flush, purge).
  Runs that are due, unowned and silent for T seconds are published again, but never more than
  the queues' own lengths say are missing, so that a long backlog is not doubled.
* **Dead letters**: claims that have ended are given back, proposals of which the time is over are
  closed, so are approvals without which a run does not begin, and the broker's queue is made equal
  to the open, unclaimed escalations.
* **Jobs**: running ones that nothing was heard of are woken.

All of them go by surveys (`surveying.py`), but for what only the broker or the locks can tell.
Authoritative for all of it is the table; the broker is only ever brought in line with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports import (
    DeadLetterQueue,
    GuardStore,
    HintPublisher,
    ProposalStore,
    QueueCounts,
    Store,
    WorkerLocks,
    queue_names,
)
from orchestrator.ports.metering import UNMETERED, Meter
from orchestrator.ports.surveys import Survey, Surveys, SurveyTimes
from orchestrator.service.due import DueRuns
from orchestrator.service.escalations import reconcile_dead_letters
from orchestrator.service.jobs import JobWorker
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.schedule_watch import LEFT_SECONDS
from orchestrator.service.surveying import STAGGER

log = structlog.get_logger(__name__)

LARGEST_PASS = 500
SECOND_LOOK_SECONDS = 0.5
"""Before a free lock counts as a death: twice as long as a living process needs to take it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecoveryTimes:
    """All in seconds. `pass_every`: between two surveys."""

    pass_every: float
    dead_after: float
    lost_after: float

    @property
    def of_surveys(self) -> SurveyTimes:
        """The same, for those who look for all."""
        return SurveyTimes(
            dead_after=self.dead_after, lost_after=self.lost_after, left_after=LEFT_SECONDS
        )


class Recovery:
    """The passes of one worker process."""

    def __init__(
        self,
        store: Store,
        locks: WorkerLocks,
        publisher: HintPublisher,
        redeliverer: Redeliverer,
        dead_letters: DeadLetterQueue,
        times: RecoveryTimes,
        *,
        jobs: JobWorker | None = None,
        proposals: ProposalStore | None = None,
        guards: GuardStore | None = None,
        look_after_maps: Callable[[], Awaitable[int]] | None = None,
        jitter: Callable[[], float] = random.random,
        meter: Meter = UNMETERED,
    ) -> None:
        self._store, self._locks, self._jobs = store, locks, jobs
        self._proposals, self._guards = proposals, guards
        self._look_after_maps = look_after_maps
        self._publisher, self._redeliverer = publisher, redeliverer
        self._dead_letters, self._times = dead_letters, times
        self._jitter, self._meter = jitter, meter
        self._due = DueRuns(store, redeliverer, meter=meter)

    async def run_quick_passes(self, surveys: Surveys) -> None:
        """Death and due waits, until cancelled."""
        while True:
            await self._attempt(self.quick_pass, await surveys.next())

    async def run_slow_passes(self, surveys: Surveys) -> None:
        """Lost hints, maps, dead letters and jobs, until cancelled."""
        # Twice in `lost_after`: the next survey is half a pause off on the average.
        seconds = max((self._times.lost_after - self._times.pass_every) / 2, 0.0)
        while True:
            await self._attempt(self.slow_pass, await surveys.next())
            await asyncio.sleep(seconds * (1 + STAGGER * (2 * self._jitter() - 1)))

    async def quick_pass(self, survey: Survey) -> None:
        """One pass over dead workers, due waits and untold children."""
        await self._recover_dead(survey)
        if survey.due_in_seconds is not None and survey.due_in_seconds <= 0:
            await self._due.publish()
        await self._tell_parents(survey)

    async def slow_pass(self, survey: Survey) -> None:
        """One pass over lost hints, maps, dead letters and jobs."""
        if survey.lost:
            await self._publish_lost()
        if self._look_after_maps is not None and survey.mapped:
            self._meter.recovered("map", await self._look_after_maps())
        if survey.unclaimed and (ended := await self._store.release_expired_claims()):
            log.info("claims.ended", escalations=[each.id for each in ended])
        await self._end_what_waited_too_long(survey)
        await reconcile_dead_letters(self._store, self._dead_letters)
        if self._jobs is not None and survey.jobs:
            await self._jobs.sweep(silent_seconds=self._times.lost_after)

    async def _end_what_waited_too_long(self, survey: Survey) -> None:
        if self._proposals is None or not survey.lapsed:
            lapsed = []
        else:
            lapsed = await self._proposals.lapse_proposals()
        if lapsed:
            log.info("proposals.lapsed", proposals=lapsed)
        if self._guards is not None and survey.held:
            await self._redeliverer.publish(await self._guards.expire_holds(limit=LARGEST_PASS))

    async def _attempt(self, work: Callable[[Survey], Awaitable[None]], survey: Survey) -> None:
        try:
            await work(survey)
        except Unavailable as error:
            log.warning("recovery.postponed", why=str(error))
        except Exception:
            # A pass is repeatable and must not end recovery for good because of one bad row.
            log.exception("recovery.failed")

    async def _recover_dead(self, survey: Survey) -> None:
        ids = survey.workers
        if ids is None:
            ids = tuple(worker.id for worker in await self._store.workers())
        free = await self._locks.free_among(ids)
        if free:
            # One that lost its connection and nothing else takes the lock on a new one, and trusts
            # itself all the while: whoever took its runs would have them beside it.
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            free = await self._locks.free_among(free)
        while free or survey.dead:
            found = await self._store.recover_dead(
                dead_after_seconds=self._times.dead_after, also_dead=free, limit=LARGEST_PASS
            )
            if found:
                log.warning("runs.recovered", runs=len(found))
            self._meter.recovered("dead", len(found))
            await self._redeliverer.publish(found)
            if len(found) < LARGEST_PASS:
                return

    async def _tell_parents(self, survey: Survey) -> None:
        if survey.untold and (waits := await self._store.untold_children(limit=LARGEST_PASS)):
            await self._redeliverer.publish(await self._store.tell_parents(waits))
            self._meter.recovered("child", len(waits))
        if survey.forsaken:
            await self._redeliverer.publish(await self._store.cancel_forsaken(limit=LARGEST_PASS))

    async def _publish_lost(self) -> None:
        missing = await self._missing_hints()
        if missing <= 0:
            return
        lost = await self._store.take_lost(
            silent_seconds=self._times.lost_after, limit=min(missing, LARGEST_PASS * 4)
        )
        if lost:
            log.warning("hints.lost", runs=len(lost))
        await self._redeliverer.publish(lost)
        self._meter.recovered("lost", len(lost))

    async def _missing_hints(self) -> int:
        """Due, unowned runs minus the messages that stand for them, summed over all queues."""
        counts = await self._store.queue_counts()
        queues = [name for c in counts for name in queue_names(c.lane, c.direction)]
        depth = await self._publisher.depth(queues)
        reserved = sum(worker.reserved for worker in await self._store.workers())
        return sum(_missing(count, depth) for count in counts) - reserved


def _missing(count: QueueCounts, depth: dict[str, int]) -> int:
    waiting = sum(depth.get(name, 0) for name in queue_names(count.lane, count.direction))
    return max(count.due - waiting, 0)
