"""What a driver needs from its process, in one value."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine.batching import Batcher
from orchestrator.engine.children import Children
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.lacking import Code
from orchestrator.engine.pausing import Pauses
from orchestrator.ports import (
    Awaited,
    Awaiting,
    DeadLetterQueue,
    Gate,
    Hint,
    Readiness,
    RunWrite,
    Signals,
    StepEvents,
    Transport,
)
from orchestrator.ports.metering import UNMETERED, UNOBSERVED, ApiObserver, Meter
from orchestrator.ports.tracing import Tracing


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far a driver goes on its own. Durations in seconds."""

    max_inline_steps: int
    max_inline_seconds: float
    short_wait_seconds: float
    gate_patience_seconds: float
    max_claims: int
    max_output_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Deps:
    """The process around the drivers."""

    worker_id: str
    journal: Batcher[RunWrite, Signals | None]
    waits: Batcher[Awaiting, Awaited | None]
    outbox: Batcher[Hint, None]
    gate: Gate
    http: Transport
    tasks: Transport
    dead_letters: DeadLetterQueue
    events: StepEvents
    clock: DatabaseClock
    limits: Limits
    new_id: Callable[[], str]  # UUIDv7
    children: Children
    lifeline: Lifeline = field(default_factory=Lifeline)
    jitter: Callable[[], float] = random.random
    readiness: Readiness | None = None  # of calls over HTTP
    pauses: Pauses = field(default_factory=Pauses)
    asleep: Callable[[datetime], None] = lambda _: None  # a run was put to sleep until then
    meter: Meter = UNMETERED
    observer: ApiObserver = UNOBSERVED
    tracing: Tracing | None = None  # None: nobody wants traces
    code: Code | None = None  # None: all functions are here

    def transport(self, request: FrozenRequest) -> Transport:
        """The transport for this kind of request."""
        return self.tasks if request.method == "TASK" else self.http

    def lacks(self, request: FrozenRequest) -> bool:
        """Whether it calls a function that this worker does not have."""
        return self.code is not None and self.code.lacks(request)

    def unready(self, request: FrozenRequest) -> Readiness | None:
        """What this kind of request may have to wait for before the gate, if anything."""
        return None if request.method == "TASK" else self.readiness
