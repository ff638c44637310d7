"""Histograms of one worker process, counted without locks.

prometheus_client's own take two locks and go through all bounds for each observation, four times
the cost of this, and a step is observed twice. One thread counts here. Others may read meanwhile:
they see some observations that began later, never a broken number.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from orchestrator.telemetry.metrics import Metric


class Tally:
    """One series: how many observations fell below each bound, and what all add up to."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)  # the last: above all bounds
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Count one. It belongs to the first bound that is not below it."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def read(self) -> tuple[list[int], float]:
        """Observations up to each bound and all of them, then their sum."""
        total, upto = self._sum, []
        found = 0
        for count in list(self._counts):
            found += count
            upto.append(found)
        return upto, total


class Tallies(Collector):
    """A family of such series, by the values of its labels. `metric` has bounds."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._names = [_name(bound) for bound in (*metric.buckets, math.inf)]
        self._series: dict[tuple[str, ...], Tally] = {}

    def of(self, *values: str) -> Tally:
        """The series with these values of its labels, in their order."""
        known = self._series.get(values)
        if known is None:
            known = self._series[values] = Tally(self._metric.buckets)
        return known

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """All of it as it is now. Any thread may ask."""
        family = self._family()
        for values, tally in list(self._series.items()):
            upto, total = tally.read()
            family.add_metric(values, list(zip(self._names, upto, strict=True)), total)
        return [family]

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """What it counts, without a number."""
        return [self._family()]

    def _family(self) -> HistogramMetricFamily:
        metric = self._metric
        return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _name(bound: float) -> str:
    """As Prometheus' own libraries write it."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # theirs has no types
