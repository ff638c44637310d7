"""One run's trace while it is driven: names it in logs and in headers, and says if it is kept.

No span is made here. They are made later, from what was committed: see `service/spans`.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from orchestrator.core.states import Direction, RunStatus
from orchestrator.core.tracing import TraceHeaders, attempt_span_id, context_of, span_id
from orchestrator.ports import RunRecord
from orchestrator.ports.tracing import Tracing

At = tuple[int, Direction]


class RunTrace:
    """The trace of a run in this process's hands."""

    def __init__(self, run: RunRecord, tracing: Tracing) -> None:
        self._run_id, self._tracing = run.id, tracing
        self._context = context_of(run.id, run.traceparent, run.tracestate)
        self._attempt: tuple[At, datetime | None] | None = None  # the run itself is at hand

    def bind(self) -> None:
        """Name the span at hand in every line that this task logs from now on.

        Its id is worked out when there is a line (`telemetry.logging`), which for most is never.
        """
        structlog.contextvars.bind_contextvars(trace_id=self._context.trace_id, span_id=self)

    def __str__(self) -> str:
        """The id of the span at hand."""
        return self._span(*self._attempt) if self._attempt is not None else self._root

    def begin_attempt(self, at: At, begun_at: datetime | None) -> None:
        """An attempt's span is at hand from now on; None: it has no intent, since it only asks."""
        self._attempt = (at, begun_at)

    def headers(self, at: At, begun_at: datetime | None) -> TraceHeaders:
        """For the API that is called."""
        return self._context.headers(self._span(at, begun_at), ratio=self._tracing.ratio)

    @property
    def is_chosen(self) -> bool:
        """Whether it is told of whatever comes of the run, hence while it is under way too."""
        return self._context.keeps(self._tracing.ratio)

    def keeps(self, status: RunStatus) -> bool:
        """Whether it is told of, now that the run settles like this."""
        return self._tracing.keeps(self._context, status)

    def _span(self, at: At, begun_at: datetime | None) -> str:
        if begun_at is None:
            return self._root
        return attempt_span_id(self._run_id, *at, begun_at)

    @property
    def _root(self) -> str:
        return span_id(self._run_id, "run")
