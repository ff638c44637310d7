"""After a restore, before any worker is started: what the world may be ahead of the database.

A restored database tells of each run what it had done until the backup. Whatever the run had ahead
may have been done since, forward or back, so all of it is doubted (core event `Restored`): with a
key it is done again under the same key; without one its `verify` operation is asked; what nobody
can ask stops with a person. Epochs are raised beyond all that were given out since, so that hints
and processes from before are refused. Each run tells of it in its audit.

What no table tells is not found here: runs that were accepted since the backup, and what people
have decided since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.events import Restored
from orchestrator.core.plan import Effects, Plan
from orchestrator.core.saga import Saga
from orchestrator.core.states import Direction, RunStatus
from orchestrator.errors import Conflict, Problem, Unavailable
from orchestrator.ports import ClaimedRun, LinkWrite, Store, WorkerLocks
from orchestrator.ports.restoring import HighWater, HighWaterMark, RestoredRun, RestoreStore
from orchestrator.service.high_water import HighWaterWatch

PAGE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubted:
    """What a restore leaves in doubt, or would."""

    runs: int = 0  # that had not ended
    escalated: int = 0  # of them: a person may have decided about it since
    keyed: int = 0  # links that are done again under their key
    asked: int = 0  # links of which the API is asked whether they are done
    people: int = (
        0  # links that nobody can be asked about: their runs escalate where they get there
    )
    missing: str = ""  # what was noticed to be missing, in words

    def __add__(self, other: Doubted) -> Doubted:
        return Doubted(
            runs=self.runs + other.runs, escalated=self.escalated + other.escalated,
            keyed=self.keyed + other.keyed, asked=self.asked + other.asked,
            people=self.people + other.people, missing=self.missing or other.missing,
        )  # fmt: skip


class Restoring:
    """Makes a restored database safe to go on with."""

    def __init__(
        self,
        store: Store,
        restoring: RestoreStore,
        locks: WorkerLocks,
        mark: HighWaterMark,
        load_plan: Callable[[str], Awaitable[Plan]],
        *,
        dead_after_seconds: float,
    ) -> None:
        self._store, self._restoring, self._locks, self._mark = store, restoring, locks, mark
        self._load_plan, self._dead_after = load_plan, dead_after_seconds

    async def look(self) -> Doubted:
        """What would be doubted. Nothing is written."""
        return await self._all(None, lambda _runs: None)

    async def restore(
        self, *, by: str, tick: Callable[[int], None] = lambda _runs: None
    ) -> Doubted:
        """Doubt it. Repeatable; `tick` hears how many runs are done.

        Raises Conflict when a worker is at work, Unavailable also when the gate's Redis is away.
        """
        await self._require_nobody()
        found = await self._all(by, tick)
        await self._restoring.forget_workers()
        await self._mark.set_to(await self._restoring.high_water())
        return found

    async def high_water(self) -> HighWater:
        """How far the tables have come."""
        return await self._restoring.high_water()

    async def remembered(self) -> HighWater:
        """How far they had come by what is remembered of it. Raises Unavailable."""
        return await self._mark.read()

    async def _all(self, by: str | None, tick: Callable[[int], None]) -> Doubted:
        found, after = Doubted(missing=await self._noticed(by is None)), ""
        while page := await self._restoring.restorable(after=after, limit=PAGE):
            now = await self._store.now()
            restored = [await self._doubt(each, now) for each in page]
            if by is not None:
                await self._restoring.restore([run for run, _ in restored], by=by)
            found = sum((counted for _, counted in restored), start=found)
            after = page[-1].run.id
            tick(found.runs)
        return found

    async def _noticed(self, only_looks: bool) -> str:
        """Raises Unavailable before anything is written without the mark that is set at the end."""
        try:
            return await HighWaterWatch(self._restoring, self._mark).missing()
        except Unavailable as error:
            if not only_looks:
                raise
            return f"not known: {error}"

    async def _doubt(self, found: ClaimedRun, now: datetime) -> tuple[RestoredRun, Doubted]:
        run = found.run
        saga = found.saga(await self._load_plan(run.workflow_id))
        after = decide(saga, Restored(), now).saga
        links = _changed(saga, after)
        data = {
            "epoch": run.epoch, "in_doubt": len(links),
            "events": [journal.entry(Restored(), now, None)],
        }  # fmt: skip
        restored = RestoredRun(
            run_id=run.id, epoch=run.epoch, audit_seq=run.audit_seq, status=after.status,
            links=links, data=data,
        )  # fmt: skip
        return restored, _counted(after, links)

    async def _require_nobody(self) -> None:
        workers, now = await self._store.workers(), await self._store.now()
        free = await self._locks.free_among([worker.id for worker in workers])
        for worker in workers:
            age = (now - worker.heartbeat_at).total_seconds()
            if worker.id not in free and age < self._dead_after:
                problem = Problem(
                    place=f"worker {worker.name}", found=f"at work, heartbeat {age:.1f} s ago",
                    wanted="no worker at this database: stop all of them first",
                )  # fmt: skip
                raise Conflict("the database is in use", problems=[problem])


def _changed(before: Saga, after: Saga) -> tuple[LinkWrite, ...]:
    return tuple(
        LinkWrite(step=step, direction=direction, link=after.link(step, direction))
        for step in range(len(after.steps))
        for direction in Direction
        if after.link(step, direction) != before.link(step, direction)
    )


def _counted(saga: Saga, links: tuple[LinkWrite, ...]) -> Doubted:
    keyed = asked = people = 0
    for each in links:
        if not saga.has_call(each.step, each.direction):
            continue
        call = saga.call(each.step, each.direction)
        if call.effects is not Effects.UNKEYED:
            keyed += 1
        elif call.verify is not None:
            asked += 1
        else:
            people += 1
    escalated = saga.status is RunStatus.ESCALATED
    return Doubted(runs=1, escalated=int(escalated), keyed=keyed, asked=asked, people=people)
