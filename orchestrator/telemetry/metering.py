"""Counts and times one worker process's work for Prometheus. Implements ports.metering.Meter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.core.exchange import Outcome
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.metrics import Metric
from orchestrator.telemetry.tallies import Tallies, Tally

Child = TypeVar("Child")
Values = tuple[str, ...]
Readings = Mapping[Metric, Mapping[Values, float]]
"""Of gauges: a number by the values of its labels."""

NO_ANSWER = "none"
TOO_MANY_REQUESTS = 429

disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs. Each would be a second series


class Bounded(Generic[Child]):
    """A family whose series are bounded: open labels beyond MOST combinations are OTHER."""

    def __init__(self, metric: Metric, make: Callable[..., Child]) -> None:
        self._make = make
        self._open = tuple(name in m.OPEN_LABELS for name in metric.labels)
        self._known: set[Values] = set()
        self._children: dict[Values, Child] = {}

    def of(self, *values: str) -> Child:
        """The series with these values of its labels, in their order."""
        child = self._children.get(values)
        return self._new(values) if child is None else child

    def _new(self, values: Values) -> Child:
        named = tuple(value for value, is_open in zip(values, self._open, strict=True) if is_open)
        if named not in self._known:
            if len(self._known) >= m.MOST:
                return self._make(*_as_other(values, self._open))
            self._known.add(named)
        child = self._children[values] = self._make(*values)
        return child


def _as_other(values: Values, are_open: tuple[bool, ...]) -> Values:
    return tuple(
        m.OTHER if is_open else value for value, is_open in zip(values, are_open, strict=True)
    )


class PrometheusMeter:
    """The counters and histograms of one worker process. Used by one thread, read by any."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._attempts = self._histogram(m.ATTEMPTS)
        self._links = self._histogram(m.LINKS)
        self._runs = self._histogram(m.RUNS_ENDED)
        self._queue_waits = self._histogram(m.QUEUE_WAITS)
        self._gate_waits = self._histogram(m.GATE_WAITS)
        self._parked = self._counter(m.PARKED)
        self._batch_seconds = self._histogram(m.BATCH_SECONDS)
        self._batch_items = self._histogram(m.BATCH_SIZES)
        self._recovered = self._counter(m.RECOVERED)
        self._gave_up = self._counter(m.GAVE_UP)

    def attempted(
        self, api: str, direction: Direction, outcome: Outcome, status: int | None, seconds: float
    ) -> None:
        """See Meter."""
        self._attempts.of(api, direction, outcome, answer_class(status)).observe(seconds)

    def settled(
        self, workflow: str, step: str, direction: Direction, status: LinkStatus, seconds: float
    ) -> None:
        """See Meter."""
        self._links.of(workflow, step, direction, status).observe(seconds)

    def ended(self, workflow: str, status: RunStatus, seconds: float) -> None:
        """See Meter."""
        self._runs.of(workflow, status).observe(seconds)

    def claimed(self, lane: str, direction: Direction, seconds: float) -> None:
        """See Meter."""
        self._queue_waits.of(lane, direction).observe(seconds)

    def passed_gate(self, api: str, seconds: float) -> None:
        """See Meter."""
        self._gate_waits.of(api).observe(seconds)

    def parked(self, api: str) -> None:
        """See Meter."""
        self._parked.of(api).inc()

    def batched(self, batch: str, items: int, seconds: float) -> None:
        """See Meter."""
        self._batch_seconds.of(batch).observe(seconds)
        self._batch_items.of(batch).observe(items)

    def recovered(self, what: str, runs: int) -> None:
        """See Meter."""
        self._recovered.of(what).inc(runs)

    def gave_up(self, why: str) -> None:
        """See Meter."""
        self._gave_up.of(why).inc()

    def _histogram(self, metric: Metric) -> Bounded[Tally]:
        family = Tallies(metric)
        self._registry.register(family)
        return Bounded(metric, family.of)

    def _counter(self, metric: Metric) -> Bounded[Counter]:
        family = Counter(metric.name, metric.help, metric.labels, registry=self._registry)
        return Bounded(metric, family.labels)


def answer_class(status: int | None) -> str:
    """Of HTTP: 429 by itself, others by their hundred; `none` without a complete answer."""
    if status is None:
        return NO_ANSWER
    return "429" if status == TOO_MANY_REQUESTS else f"{status // 100}xx"


class Gauges(Collector):
    """Gauges that are read when somebody asks for them, bounded as all others are."""

    def __init__(self, read: Callable[[], Readings], described: Iterable[Metric]) -> None:
        self._read, self._described = read, tuple(described)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family for each metric that there is a reading of."""
        return gauge_families(self._read())

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """What it may give; nothing is read for it."""
        return [_family(metric) for metric in self._described]


def gauge_families(readings: Readings) -> list[GaugeMetricFamily]:
    """The readings as Prometheus has them; what is beyond MOST is added up as OTHER."""
    families = []
    for metric, values in readings.items():
        family = _family(metric)
        for labels, value in bounded(metric, values).items():
            family.add_metric(labels, value)
        families.append(family)
    return families


def bounded(metric: Metric, readings: Mapping[Values, float]) -> dict[Values, float]:
    """The MOST largest combinations of open labels by their sums; the rest added up as OTHER."""
    are_open = tuple(name in m.OPEN_LABELS for name in metric.labels)
    sums: dict[Values, float] = {}
    for labels, value in readings.items():
        named = _named(labels, are_open)
        sums[named] = sums.get(named, 0.0) + value
    kept = set(sorted(sums, key=lambda named: (-sums[named], named))[: m.MOST])
    found: dict[Values, float] = {}
    for labels, value in readings.items():
        shown = labels if _named(labels, are_open) in kept else _as_other(labels, are_open)
        found[shown] = found.get(shown, 0.0) + value
    return found


def _named(labels: Values, are_open: tuple[bool, ...]) -> Values:
    return tuple(value for value, is_open in zip(labels, are_open, strict=True) if is_open)


def _family(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
