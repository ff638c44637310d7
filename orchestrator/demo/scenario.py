"""The demo from the first submission to the verdict.

submit ── (others change the world meanwhile) ── wait until all have settled
       ── the operator acts on some dead letters ── wait again ── read back ── reconcile
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.demo.peak import peak_overlap
from orchestrator.demo.reconcile import RunView, Verdict
from orchestrator.demo.report import Totals, percentiles, run_seconds, totals
from orchestrator.demo.seeding import Order
from orchestrator.demo.views import brief_view, full_view
from orchestrator.demo.watching import Watcher
from orchestrator.demo.worlds import OPERATOR, Done, WayOut, World, choose
from orchestrator.ports import EscalationFilter, EscalationRecord, RunRecord
from orchestrator.service.escalations import Escalations
from orchestrator.service.runs import Runs
from orchestrator.service.submitting import Submission, Submitter

_SUBMITTED_AT_ONCE = 1000
_READ_AT_ONCE = 8
_MOST_ESCALATIONS = 1_000_000
_SAMPLED = (RunStatus.SUCCEEDED, RunStatus.COMPENSATED, RunStatus.ESCALATED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """What the scenario uses of the orchestrator."""

    submitter: Submitter
    runs: Runs
    escalations: Escalations


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """All that there is to say at the end."""

    totals: Totals
    verdict: Verdict
    percentiles: Mapping[str, float] = field(default_factory=dict)
    acts: Sequence[Done] = ()
    samples: Mapping[RunStatus, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One demo over an orchestrator and a world that are up."""

    services: Services
    world: World
    orders: Sequence[Order]
    tenant: str
    watcher: Watcher

    async def play(self) -> Result:
        """Run all of it. Raises Unavailable, and whatever the watcher's `keep_alive` raises."""
        await self.world.open()
        await self.watcher.begin()
        began = time.monotonic()
        before = await self._run()
        seconds = time.monotonic() - began
        done = await self._operate(before.values())
        after = await self.watcher.settled() if done else before
        return await self._judge(before, after, done, seconds)

    async def _run(self) -> dict[str, RunRecord]:
        """Submit and wait, while others change the world. Raises their failure if they fail."""
        others = asyncio.create_task(self.world.meanwhile())
        runs = asyncio.create_task(self._submit_and_wait())
        try:
            await asyncio.wait({runs, others}, return_when=asyncio.FIRST_COMPLETED)
            if others.done():
                others.result()
            return await runs
        finally:
            for task in (runs, others):
                task.cancel()
            await asyncio.gather(runs, others, return_exceptions=True)

    async def _submit_and_wait(self) -> dict[str, RunRecord]:
        await self._submit()
        return await self.watcher.settled()

    async def _submit(self) -> None:
        for start in range(0, len(self.orders), _SUBMITTED_AT_ONCE):
            batch = self.orders[start : start + _SUBMITTED_AT_ONCE]
            await self.services.submitter.submit([self._submission(order) for order in batch])

    def _submission(self, order: Order) -> Submission:
        return Submission(
            workflow=self.world.workflow,
            inputs=order.inputs,
            idempotency_key=order.order_id,
            tenant=self.tenant,
            actor="demo",
        )

    async def _operate(self, runs: Iterable[RunRecord]) -> list[Done]:
        ours = {run.id: run.idempotency_key for run in runs}
        open_ones = await self.services.escalations.list(EscalationFilter(limit=_MOST_ESCALATIONS))
        ours_open = [one for one in open_ones if one.run_id in ours]
        return [
            await self._act(one, way, ours[one.run_id])
            for one, way in choose(ours_open, self.world.ways_out)
        ]

    async def _act(self, escalation: EscalationRecord, way: WayOut, order_id: str) -> Done:
        escalations = self.services.escalations
        await escalations.claim(escalation.id, by=OPERATOR)
        expected = await self.world.act(escalations, escalation, way, order_id)
        return Done(
            run_id=escalation.run_id, escalation_id=escalation.id, way=way, expected=expected
        )

    async def _judge(
        self,
        before: Mapping[str, RunRecord],
        after: Mapping[str, RunRecord],
        done: Sequence[Done],
        seconds: float,
    ) -> Result:
        views = await self._views(after)
        by_run = {act.run_id: act.expected for act in done}
        expected = {o: by_run[run.id] for o, run in after.items() if run.id in by_run}
        verdict = await self.world.reconcile(self.orders, views, expected)
        # As they stood before the operator took some up again.
        intervals = [(r.started_at, r.settled_at) for r in before.values() if r.started_at]
        return Result(
            totals=totals(views, verdict, peak=peak_overlap(intervals), seconds=seconds),
            verdict=verdict,
            percentiles=percentiles(run_seconds(intervals)),
            acts=done,
            samples=_samples(views.values()),
        )

    async def _views(self, runs: Mapping[str, RunRecord]) -> dict[str, RunView]:
        readers = asyncio.Semaphore(_READ_AT_ONCE)

        async def view(run: RunRecord) -> RunView:
            if run.status is RunStatus.SUCCEEDED or run.status not in SETTLED:
                return brief_view(run)
            async with readers:
                return full_view(await self.services.runs.show(run.id), self.world.named)

        views = await asyncio.gather(*(view(run) for run in runs.values()))
        return dict(zip(runs, views, strict=True))


def _samples(views: Iterable[RunView]) -> dict[RunStatus, str]:
    """One run id for each ending, the last of each."""
    return {view.status: view.run_id for view in views if view.status in _SAMPLED}
