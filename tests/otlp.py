"""A receiver of OTLP over HTTP: a server that reads the protobuf as OpenTelemetry defines it."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Proto
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True, kw_only=True)
class Got:
    """A span as it came in. Times in nanoseconds since 1970, ids in hex."""

    trace: str
    id: str
    parent: str  # empty: none
    state: str
    name: str
    kind: str
    begun: int
    ended: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    failed: bool
    why: str
    resource: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One series of a metric as it came in. Times in nanoseconds since 1970."""

    name: str
    unit: str
    kind: str  # gauge, sum or histogram
    only_up: bool  # a sum or histogram that is told from its beginning on
    labels: frozenset[tuple[str, str]]
    value: float  # a histogram's sum
    counts: tuple[int, ...]  # a histogram's, between its bounds
    bounds: tuple[float, ...]
    began: int
    at: int
    instance: str
    service: str


class Receiver:
    """What has come in; it answers with `answers` first, then with 200."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.spans: list[Got] = []
        self.points: list[list[Point]] = []  # by request
        self.paths: list[str] = []
        self.answers: list[int] = []
        self._lock = threading.Lock()

    def take(self, path: str, body: bytes) -> int:
        with self._lock:
            self.paths.append(path)
            status = self.answers.pop(0) if self.answers else 200
            if status == 200 and path == "/v1/metrics":
                measured = ExportMetricsServiceRequest()
                measured.ParseFromString(body)
                self.points.append(list(points_of(measured)))
            elif status == 200:
                request = ExportTraceServiceRequest()
                request.ParseFromString(body)
                self.spans += spans_of(request)
            return status

    def traces(self) -> dict[str, list[Got]]:
        """Spans by trace."""
        found: dict[str, list[Got]] = {}
        for span in self.spans:
            found.setdefault(span.trace, []).append(span)
        return found


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Got]:
    for of_resource in request.resource_spans:
        resource = _plain(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Got(
                    trace=span.trace_id.hex(), id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(), name=span.name, state=span.trace_state,
                    kind=Proto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    begun=span.start_time_unix_nano, ended=span.end_time_unix_nano,
                    attributes=_plain(span.attributes),
                    events=tuple(event.name for event in span.events),
                    links=tuple(link.span_id.hex() for link in span.links),
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                    why=span.status.message, resource=resource,
                )  # fmt: skip


def points_of(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for of_resource in request.resource_metrics:
        resource = _plain(of_resource.resource.attributes)
        for metric in (each for scope in of_resource.scope_metrics for each in scope.metrics):
            kind = metric.WhichOneof("data")
            assert kind in ("gauge", "sum", "histogram")
            data = getattr(metric, kind)
            cumulative = kind != "gauge" and (
                data.aggregation_temporality
                == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            )
            for each in data.data_points:
                is_histogram = kind == "histogram"
                yield Point(
                    name=metric.name, unit=metric.unit, kind=kind,
                    only_up=cumulative and (is_histogram or data.is_monotonic),
                    labels=frozenset(_plain(each.attributes).items()),
                    value=each.sum if is_histogram else each.as_double,
                    counts=tuple(each.bucket_counts) if is_histogram else (),
                    bounds=tuple(each.explicit_bounds) if is_histogram else (),
                    began=each.start_time_unix_nano, at=each.time_unix_nano,
                    instance=resource["service.instance.id"], service=resource["service.name"],
                )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each) for each in attributes}


def _value(each: KeyValue) -> Any:
    value: AnyValue = each.value
    return getattr(value, value.WhichOneof("value") or "string_value")


def whole(spans: list[Got], *, outside: str = "") -> None:
    """It is one whole trace: one root, no span twice, every parent there and around its children
    but for what goes on after it, every link to a span that is there.
    """
    counts = Counter(span.id for span in spans)
    assert set(counts.values()) == {1}, "a span that came twice"
    by_id = {span.id: span for span in spans}
    assert len({span.trace for span in spans}) == 1
    assert [span.parent for span in spans if span.parent not in by_id] == [outside]
    for span in spans:
        assert span.begun <= span.ended
        assert set(span.links) <= set(by_id)
        parent = by_id.get(span.parent)
        if parent is not None:
            assert parent.begun <= span.begun, (parent, span)
            if not span.name.startswith("resumed "):
                assert span.ended <= parent.ended, (parent, span)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(receiver.take(self.path, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
