"""Tells of the traces of runs that wait or have settled: all at least once, whatever dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import structlog
from msgspec.structs import replace

from orchestrator.definitions.programs import Programs
from orchestrator.errors import NotFound, Unavailable
from orchestrator.ports import RunStore, StepRecord
from orchestrator.ports.tracing import DueTrace, SpanSink, TraceStore, Untaken
from orchestrator.service.privacy import Veil
from orchestrator.service.spans import Traced

log = structlog.get_logger(__name__)

PASS_SECONDS = 1.0
AT_ONCE = 50
WAKE_EVERY = 10
"""Passes between two looks for escalated runs that have ended since."""
MOST_ATTEMPTS = 100
"""About sixteen hours, then a trace is given up."""


class _Store(RunStore, TraceStore, Protocol):
    """What is needed of the database."""


class TraceTeller:
    """The pass that every worker makes; the database gives each trace to one of them."""

    def __init__(
        self,
        store: _Store,
        sink: SpanSink,
        *,
        programs: Programs,
        broker: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._sink, self._programs = store, sink, programs
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
        """Without what is secret. None for a run that has been deleted, or cannot be read."""
        try:
            # First the audit: of what it tells, all else is there. The run may go on meanwhile.
            audit = await self._store.audit(due.run_id)
            run = await self._store.run(due.run_id)
            program, steps = (
                await self._programs.get(run.workflow_id),
                await self._store.steps(run.id),
            )
            veil = Veil(program.secrets, run, steps)
            return Traced(
                veil.run(run), program.plan, [_hidden(step, veil) for step in steps],
                [veil.attempt(each) for each in await self._store.attempts(run.id)],
                [veil.audit(each) for each in audit],
                broker=self._broker,
            )  # fmt: skip
        except NotFound:
            return None
        except Unavailable:
            raise
        except Exception:
            # One that cannot be told of must not keep the others of its batch from being told.
            log.exception("trace.broken", run=due.run_id)
            return None

    async def aclose(self) -> None:
        """Close the sink."""
        await self._sink.aclose()

    async def _told(self, due: DueTrace, one: Traced | None) -> None:
        if one is None:
            await self._store.forget_trace(due)
        else:
            await self._store.note_traced(due, told=one.upto, ended=one.has_ended)

    async def _untaken(self, taken: list[DueTrace], why: str) -> None:
        log.warning("traces.not_taken", runs=len(taken), why=why)
        for due in taken:
            if due.attempt < MOST_ATTEMPTS:
                await self._store.note_untraced(due, why)
            else:
                log.error("trace.given_up", run=due.run_id, why=why)
                await self._store.forget_trace(due)


def _hidden(step: StepRecord, veil: Veil) -> StepRecord:
    return replace(
        step, forward=veil.link(step.step_id, step.forward), undo=veil.link(step.step_id, step.undo)
    )
