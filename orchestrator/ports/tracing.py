"""Traces of runs: which are due to be told, what a span is, and who takes spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from orchestrator.core.states import RunStatus
from orchestrator.core.tracing import TraceContext, is_failure

AttributeValue = str | bool | int | float


class SpanKind(StrEnum):
    """What a span's two ends are to each other."""

    INTERNAL = "internal"
    CLIENT = "client"  # a request to somebody else
    CONSUMER = "consumer"  # of a message


class SpanEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at one moment of a span."""

    at: datetime
    name: str
    attributes: Mapping[str, AttributeValue] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that took its time. Ids in hex; times are aware."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str  # of few different ones: never with an id in it
    begun_at: datetime
    ended_at: datetime
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, AttributeValue] = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[str, ...] = ()  # ids of spans of the same trace that it goes on from
    error: str | None = None  # why it counts as failed; None: it does not
    state: str = ""  # of its trace (W3C tracestate)


class DueTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has settled, or waits, whose trace is to be told as far as it goes."""

    run_id: str
    told: int  # number of its latest audit record that was told of; 0: none
    attempt: int  # 1-based


class TraceStore(Protocol):
    """The part of the database that knows which traces are to be told."""

    async def take_traces(self, limit: int) -> list[DueTrace]:
        """Those that are due, each to one caller; due again after a while, longer each time."""

    async def note_traced(self, due: DueTrace, *, told: int, ended: bool) -> None:
        """They have been told up to this audit record; of an `ended` run nothing more is to come.

        Of others the rest is due once they wait anew or settle.
        """

    async def note_untraced(self, due: DueTrace, why: str) -> None:
        """Keep why not."""

    async def forget_trace(self, due: DueTrace) -> None:
        """It is given up."""

    async def wake_traces(self) -> int:
        """Make those due whose escalated runs have ended since; how many."""


class SpanSink(Protocol):
    """Whoever keeps traces."""

    async def take(self, spans: Sequence[Span]) -> None:
        """Raises Untaken when they were not taken; some of them may have been."""

    async def aclose(self) -> None:
        """Close what it keeps open."""


class Untaken(Exception):
    """Spans were not taken."""


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """Of which runs traces are kept."""

    ratio: float  # part of all runs, 0 to 1

    def keeps(self, context: TraceContext, status: RunStatus) -> bool:
        """Whether the trace of a run that has settled like this is told of."""
        return is_failure(status) or context.keeps(self.ratio)
