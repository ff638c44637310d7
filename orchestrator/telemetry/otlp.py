"""Spans to whoever takes OTLP over HTTP (a collector, Jaeger, Tempo). Implements ports.SpanSink.

With `otlp_metrics.py` the only home of OpenTelemetry's packages (extra `otel`), loaded where
`otlp_endpoint` is set. What is told in headers, which certificates hold, and the service's name and
resource come from OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS,
OTEL_RESOURCE_ATTRIBUTES …).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from orchestrator.ports import tracing as t

SERVICE = "orchestrator"
AT_ONCE = 512
"""Spans in a request."""
TRACES = "/v1/traces"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {
    t.SpanKind.INTERNAL: SpanKind.INTERNAL,
    t.SpanKind.CLIENT: SpanKind.CLIENT,
    t.SpanKind.CONSUMER: SpanKind.CONSUMER,
}


class OtlpSpans:
    """Sends spans in requests of a bounded size."""

    def __init__(self, endpoint: str, *, version: str, timeout_seconds: float = 10.0) -> None:
        self._exporter = OTLPSpanExporter(endpoint.rstrip("/") + TRACES, timeout=timeout_seconds)
        self._endpoint = endpoint
        self._resource = resource_of(version)
        self._scope = InstrumentationScope(SERVICE, version)

    async def take(self, spans: Sequence[t.Span]) -> None:
        """See SpanSink. On a thread of its own: the exporter blocks, and tries again by itself."""
        for start in range(0, len(spans), AT_ONCE):
            found = await asyncio.to_thread(self._export, spans[start : start + AT_ONCE])
            if found is not SpanExportResult.SUCCESS:
                raise t.Untaken(f"{self._endpoint}{TRACES} did not take {len(spans)} spans")

    async def aclose(self) -> None:
        """See SpanSink."""
        await asyncio.to_thread(self._exporter.shutdown)

    def _export(self, spans: Sequence[t.Span]) -> SpanExportResult:
        return self._exporter.export([self._readable(span) for span in spans])

    def _readable(self, span: t.Span) -> ReadableSpan:
        status = Status() if span.error is None else Status(StatusCode.ERROR, span.error)
        parent = span.parent_id
        return ReadableSpan(
            span.name, _context(span.trace_id, span.span_id, state=span.state),
            parent=None if parent is None else _context(span.trace_id, parent, is_remote=True),
            resource=self._resource, attributes=dict(span.attributes),
            events=[Event(e.name, dict(e.attributes), _nanos(e.at)) for e in span.events],
            links=[Link(_context(span.trace_id, linked)) for linked in span.links],
            kind=_KINDS[span.kind], status=status, start_time=_nanos(span.begun_at),
            end_time=_nanos(span.ended_at), instrumentation_scope=self._scope,
        )  # fmt: skip


def resource_of(version: str, more: Mapping[str, str] | None = None) -> Resource:
    """Who speaks. What the environment says of the service goes before what we know."""
    own = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: version, **(more or {})})
    return own.merge(OTELResourceDetector().detect())


def _context(
    trace_id: str, span_id: str, *, is_remote: bool = False, state: str = ""
) -> SpanContext:
    known = TraceState.from_header([state]) if state else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED, known)


def _nanos(at: datetime) -> int:
    """Since 1970, without the rounding of a float."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
