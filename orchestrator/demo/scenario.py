"""The demo from the first submission to the verdict.

submit ── (the desk changes records meanwhile) ── wait until all have settled
       ── the operator acts on some dead letters ── wait again ── read back ── reconcile
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.demo.clerk import USER as OPERATOR
from orchestrator.demo.clerk import Clerk, Done, choose
from orchestrator.demo.desk import USER as DESK
from orchestrator.demo.desk import ReviewDesk
from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.peak import peak_overlap
from orchestrator.demo.reconcile import RunView, Verdict, reconcile
from orchestrator.demo.report import Totals, percentiles, run_seconds, totals
from orchestrator.demo.seeding import Order
from orchestrator.demo.views import brief_view, full_view
from orchestrator.demo.watching import Watcher
from orchestrator.demo.world import open_shop, read_world
from orchestrator.ports import RunRecord
from orchestrator.service.escalations import Escalations
from orchestrator.service.runs import Runs
from orchestrator.service.submitting import Submission, Submitter

WORKFLOW = "checkout"
OWNER = "shop-owner"
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
    acts: Sequence[str] = ()
    samples: Mapping[RunStatus, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One demo over an orchestrator and a world that are up."""

    services: Services
    orders: Sequence[Order]
    world_url: str
    tenant: str
    watcher: Watcher

    async def play(self) -> Result:
        """Run all of it. Raises Unavailable, and whatever the watcher's `keep_alive` raises."""
        async with KintoClient(self.world_url, user=OWNER) as owner:
            await open_shop(owner)
        await self.watcher.begin()
        began = time.monotonic()
        before = await self._run_with_desk()
        seconds = time.monotonic() - began
        done = await self._operate(before.values())
        after = await self.watcher.settled() if done else before
        return await self._judge(before, after, done, seconds)

    async def _run_with_desk(self) -> dict[str, RunRecord]:
        async with KintoClient(self.world_url, user=DESK) as client:
            desk = asyncio.create_task(ReviewDesk(client).work())
            try:
                await self._submit()
                return await self._settled_while(desk)
            finally:
                desk.cancel()
                with suppress(asyncio.CancelledError):
                    await desk

    async def _settled_while(self, desk: asyncio.Task[None]) -> dict[str, RunRecord]:
        """The settled runs; the desk's failure, if it fails, since runs wait for it."""
        settled = asyncio.create_task(self.watcher.settled())
        await asyncio.wait({settled, desk}, return_when=asyncio.FIRST_COMPLETED)
        if desk.done():
            settled.cancel()
            desk.result()
        return await settled

    async def _submit(self) -> None:
        for start in range(0, len(self.orders), _SUBMITTED_AT_ONCE):
            batch = self.orders[start : start + _SUBMITTED_AT_ONCE]
            await self.services.submitter.submit([self._submission(order) for order in batch])

    def _submission(self, order: Order) -> Submission:
        return Submission(
            workflow=WORKFLOW,
            inputs=order.inputs,
            idempotency_key=order.order_id,
            tenant=self.tenant,
            actor="demo",
        )

    async def _operate(self, runs: Iterable[RunRecord]) -> list[Done]:
        ours = {run.id for run in runs}
        open_ones = await self.services.escalations.list(limit=_MOST_ESCALATIONS)
        chosen = choose([one for one in open_ones if one.run_id in ours])
        async with KintoClient(self.world_url, user=OPERATOR) as client:
            clerk = Clerk(self.services.escalations, client)
            return [await clerk.act(escalation, way) for escalation, way in chosen]

    async def _judge(
        self,
        before: Mapping[str, RunRecord],
        after: Mapping[str, RunRecord],
        done: Sequence[Done],
        seconds: float,
    ) -> Result:
        views = await self._views(after)
        by_run = {act.run_id: act.expected for act in done}
        async with KintoClient(self.world_url, user=OWNER) as owner:
            world = await read_world(owner)
        verdict = reconcile(
            self.orders,
            views,
            world,
            expected={
                order_id: by_run[run.id] for order_id, run in after.items() if run.id in by_run
            },
            others=await self._others(),
        )
        # As they stood before the operator took some up again.
        intervals = [(r.started_at, r.settled_at) for r in before.values() if r.started_at]
        return Result(
            totals=totals(views, verdict, peak=peak_overlap(intervals), seconds=seconds),
            verdict=verdict,
            percentiles=percentiles(run_seconds(intervals)),
            acts=[f"{act.way:<8} {act.escalation_id}  run {act.run_id}" for act in done],
            samples=_samples(views.values()),
        )

    async def _views(self, runs: Mapping[str, RunRecord]) -> dict[str, RunView]:
        readers = asyncio.Semaphore(_READ_AT_ONCE)

        async def view(run: RunRecord) -> RunView:
            if run.status is RunStatus.SUCCEEDED or run.status not in SETTLED:
                return brief_view(run)
            async with readers:
                return full_view(await self.services.runs.show(run.id))

        views = await asyncio.gather(*(view(run) for run in runs.values()))
        return dict(zip(runs, views, strict=True))

    async def _others(self) -> frozenset[str]:
        """The server's names for those who are not the orchestrator."""
        names = []
        for user in (OWNER, DESK, OPERATOR):
            async with KintoClient(self.world_url, user=user) as client:
                names.append(await client.whoami())
        return frozenset(names)


def _samples(views: Iterable[RunView]) -> dict[RunStatus, str]:
    """One run id for each ending, the last of each."""
    return {view.status: view.run_id for view in views if view.status in _SAMPLED}
