"""Tells of the traces of runs that have settled: each at least once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from orchestrator.core.plan import Plan
from orchestrator.core.states import FINAL
from orchestrator.errors import NotFound, Unavailable
from orchestrator.ports import RunStore, WorkflowStore
from orchestrator.ports.tracing import DueTrace, SpanSink, TraceStore, Untaken
from orchestrator.service.spans import Traced

log = structlog.get_logger(__name__)

PASS_SECONDS = 1.0
AT_ONCE = 50
WAKE_EVERY = 10
"""Passes between two looks for escalated runs that have ended since."""
MOST_ATTEMPTS = 100
"""About sixteen hours, then a trace is given up."""


class _Store(RunStore, WorkflowStore, TraceStore, Protocol):
    """What is needed of the database."""


class TraceTeller:
    """The pass that every worker makes; the database gives each trace to one of them."""

    def __init__(
        self,
        store: _Store,
        sink: SpanSink,
        *,
        broker: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._sink = store, sink
        self._plans: dict[str, Plan] = {}
        self._broker, self._jitter = broker, jitter
        self._passes = 0

    async def run_passes(self) -> None:
        """One pass after the other, until cancelled."""
        while True:
            more = False
            try:
                more = await self.one_pass()
            except Unavailable as error:
                log.warning("traces.postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("traces.failed")
            if not more:
                await asyncio.sleep(PASS_SECONDS * (0.75 + self._jitter() / 2))

    async def one_pass(self) -> bool:
        """Tell of what is due; whether there may be more."""
        if self._passes % WAKE_EVERY == 0:
            await self._store.wake_traces()
        self._passes += 1
        taken = await self._store.take_traces(AT_ONCE)
        found = [(due, await self._traced(due)) for due in taken]
        spans = [span for due, one in found if one for span in one.spans(told=due.told)]
        try:
            if spans:
                await self._sink.take(spans)
        except Untaken as untaken:
            await self._untaken(taken, str(untaken))
            return False
        for due, one in found:
            await self._told(due, one)
        return len(taken) == AT_ONCE

    async def _traced(self, due: DueTrace) -> Traced | None:
        """None for a run that has been deleted meanwhile."""
        try:
            run = await self._store.run(due.run_id)
            steps = await self._store.steps(run.id)
        except NotFound:
            return None
        return Traced(
            run, await self._plan(run.workflow_id), steps, await self._store.attempts(run.id),
            await self._store.audit(run.id), broker=self._broker,
        )  # fmt: skip

    async def _plan(self, workflow_id: str) -> Plan:
        plan = self._plans.get(workflow_id)
        if plan is None:
            plan = (await self._store.workflow_by_id(workflow_id)).plan
            self._plans[workflow_id] = plan
        return plan

    async def aclose(self) -> None:
        """Close the sink."""
        await self._sink.aclose()

    async def _told(self, due: DueTrace, one: Traced | None) -> None:
        segments = [] if one is None else one.segments
        last = segments[-1] if segments else None
        if last is None:
            await self._store.forget_trace(due)
        else:
            ended = last.status in FINAL
            await self._store.note_traced(due, told=last.last_seq, ended=ended)

    async def _untaken(self, taken: list[DueTrace], why: str) -> None:
        log.warning("traces.not_taken", runs=len(taken), why=why)
        for due in taken:
            if due.attempt < MOST_ATTEMPTS:
                await self._store.note_untraced(due, why)
            else:
                log.error("trace.given_up", run=due.run_id, why=why)
                await self._store.forget_trace(due)
