"""Metrics to whoever takes OTLP over HTTP: the same families that Prometheus is served.

Names, labels and units are such that a Prometheus that takes OTLP calls them as it would have
scraped them. All that only goes up is told since this object was made (cumulative temporality), so
that a push which nobody took is made up for by the next one. With `otlp.py` the only home of
OpenTelemetry's packages.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import cast

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from orchestrator.telemetry.otlp import SERVICE, resource_of

log = structlog.get_logger(__name__)

METRICS = "/v1/metrics"
UNITS = {"_seconds": "s", "_bytes": "By", "_ratio": "1"}
"""By the end of a name, in the words of UCUM."""
_UNKNOWN = cast("float", None)
"""Smallest and largest value of a histogram are optional on the wire, and not kept here."""


class OtlpMetrics:
    """Sends families as one more instance of the service. Implements pushing.MetricSink.

    Any thread may push, one at a time.
    """

    def __init__(self, endpoint: str, *, version: str, timeout_seconds: float = 10.0) -> None:
        self._address = endpoint.rstrip("/") + METRICS
        self._exporter = OTLPMetricExporter(self._address, timeout=timeout_seconds)
        # Of several processes each has series of its own.
        self._resource = resource_of(version, {SERVICE_INSTANCE_ID: str(uuid.uuid4())})
        self._scope = InstrumentationScope(SERVICE, version)
        self._began = time.time_ns()
        self._well = True

    def push(self, families: Iterable[Family]) -> bool:
        """See MetricSink. Tries again within the timeout."""
        metrics = [_metric(each, self._began, time.time_ns()) for each in families]
        scope = ScopeMetrics(self._scope, [each for each in metrics if each is not None], "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        taken = self._exporter.export(data) is MetricExportResult.SUCCESS
        if taken is not self._well:
            self._well = taken
            told = log.info if taken else log.warning
            told("metrics.taken_again" if taken else "metrics.not_taken", by=self._address)
        return taken

    def close(self) -> None:
        """See MetricSink."""
        self._exporter.shutdown()


def _metric(family: Family, began: int, now: int) -> Metric | None:
    """None for a kind that there is none of here, or without a series."""
    unit = next((unit for end, unit in UNITS.items() if family.name.endswith(end)), "")
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        points = list(_histogram_points(family.samples, family.name, began, now))
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return Metric(family.name, family.documentation, unit, data) if points else None
    name = f"{family.name}_total" if family.type == "counter" else family.name
    numbers = [
        NumberDataPoint(dict(each.labels), began, now, each.value)
        for each in family.samples if each.name == name
    ]  # fmt: skip
    if not numbers:
        return None
    if family.type == "counter":
        data = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge(numbers)
    return Metric(family.name, family.documentation, unit, data)


def _histogram_points(
    samples: Sequence[Sample], name: str, began: int, now: int
) -> Iterable[HistogramDataPoint]:
    """Prometheus counts up to each bound, OTLP between two."""
    series: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
    for each in samples:
        rest = frozenset(pair for pair in each.labels.items() if pair[0] != "le")
        if each.name == f"{name}_bucket":
            series.setdefault(rest, {})[each.labels["le"]] = each.value
        elif each.name in (f"{name}_sum", f"{name}_count"):
            series.setdefault(rest, {})[each.name] = each.value
    for labels, values in series.items():
        total, count = values.pop(f"{name}_sum"), int(values.pop(f"{name}_count"))
        upto = sorted((float(bound), int(value)) for bound, value in values.items())
        counts = [value for _, value in upto]
        yield HistogramDataPoint(
            attributes=dict(labels), start_time_unix_nano=began, time_unix_nano=now,
            count=count, sum=total, min=_UNKNOWN, max=_UNKNOWN,
            bucket_counts=[b - a for a, b in zip([0, *counts], counts, strict=False)],
            explicit_bounds=[bound for bound, _ in upto[:-1]],  # the last one is infinity
        )  # fmt: skip
