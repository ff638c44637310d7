"""How APIs are now, as all workers see them, beside how they usually are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping

from orchestrator.core.windows import ACCURACY, Window
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports.api_windows import ApiWindow, ApiWindowStore

MINUTES = 60.0
MOST_MINUTES = 24 * 60.0
BASELINE_DAYS = 7.0
ENOUGH = 50
"""Calls, now and before, without which nothing is said of how they compare."""
SLOWER, FASTER = 1.5, 0.67
"""Of the usual p95."""
FAILING_MORE, FAILING_TIMES = 0.05, 2.0
"""So many more of all calls, and so many times the usual share."""

_MAPPING = LogarithmicMapping(ACCURACY)


class Trend(StrEnum):
    """How an API is beside its own past."""

    UNKNOWN = "unknown"  # too few calls, now or before
    AS_USUAL = "as_usual"
    FAILING = "failing"  # more often than usual; whether it is slower too is not said
    SLOWER = "slower"
    FASTER = "faster"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantiles:
    """In seconds, off by one in a hundred at most. None where there was nothing."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallsSeen:
    """What calls were like."""

    calls: int
    failed_share: float  # no answer, an unclear one, or a 5xx
    throttled_share: float  # 429
    latency: Quantiles  # from the first byte out to the last one in
    waited_share: float  # that had to wait before the gate
    wait: Quantiles  # of these
    statuses: Mapping[str, int]  # "none": without a complete answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Some calls now, and the same ones before."""

    name: str  # of the API, or the operation
    now: CallsSeen
    usual: CallsSeen
    trend: Trend


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiHealthReport:
    """One API, and its operations; most calls first."""

    api: str
    whole: Compared
    operations: Sequence[Compared]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiHealths:
    """APIs that were called, by name."""

    minutes: float  # what `now` means; to the window of five minutes, or of an hour, in which it is
    baseline_days: float  # what `usual` means: so long before that
    apis: Sequence[ApiHealthReport]


@dataclass(slots=True)
class _Sums:
    now: Window = field(default_factory=Window)
    usual: Window = field(default_factory=Window)

    def compared(self, name: str) -> Compared:
        return Compared(
            name=name, now=seen(self.now), usual=seen(self.usual),
            trend=trend_of(self.now, self.usual),
        )  # fmt: skip


class _Store(ApiWindowStore, Protocol):
    """What is needed of the database."""

    async def now(self) -> datetime:
        """Its time."""


class ApiHealth:
    """Reads what workers have written down."""

    def __init__(self, store: _Store) -> None:
        self._store = store

    async def of(self, api: str | None = None, *, minutes: float = MINUTES) -> ApiHealths:
        """Of one API, or of all that were called. Raises InvalidInput."""
        if not 0 < minutes <= MOST_MINUTES:
            wanted = f"more than 0, up to {MOST_MINUTES:g}"
            problem = Problem(place="minutes", found=f"{minutes:g}", wanted=wanted)
            raise InvalidInput("the time is not a possible one", problems=[problem])
        seconds = minutes * 60 + BASELINE_DAYS * 86_400
        windows = await self._store.api_windows(seconds=seconds, api=api)
        since = await self._store.now() - timedelta(minutes=minutes)
        return ApiHealths(
            minutes=minutes, baseline_days=BASELINE_DAYS, apis=reports(windows, since=since)
        )


def reports(windows: Iterable[ApiWindow], *, since: datetime) -> list[ApiHealthReport]:
    """By name. What began before `since` is how it usually is."""
    sums: defaultdict[str, defaultdict[str, _Sums]] = defaultdict(lambda: defaultdict(_Sums))
    for each in windows:
        one = sums[each.api][each.operation]
        (one.now if each.began >= since else one.usual).merge(each.window)
    return [_report(api, sums[api]) for api in sorted(sums)]


def _report(api: str, operations: Mapping[str, _Sums]) -> ApiHealthReport:
    whole = _Sums()
    for one in operations.values():
        whole.now.merge(one.now)
        whole.usual.merge(one.usual)
    by_calls = sorted(operations.items(), key=lambda item: (-item[1].now.calls, item[0]))
    return ApiHealthReport(
        api=api, whole=whole.compared(api),
        operations=[one.compared(name) for name, one in by_calls],
    )  # fmt: skip


def seen(window: Window) -> CallsSeen:
    """A window in words of people."""
    calls = max(window.calls, 1)
    waited = sum(window.waited.values())
    return CallsSeen(
        calls=window.calls, failed_share=window.failed / calls,
        throttled_share=window.throttled / calls, latency=quantiles(window.seconds),
        waited_share=waited / calls, wait=quantiles(window.waited),
        statuses={str(status or "none"): n for status, n in sorted(window.statuses.items())},
    )  # fmt: skip


def quantiles(buckets: Mapping[int, int]) -> Quantiles:
    """Of the calls in these buckets."""
    sketch = DDSketch(ACCURACY)
    for index, count in buckets.items():
        sketch.add(_MAPPING.value(index), weight=count)
    return Quantiles(
        p50=sketch.get_quantile_value(0.5), p95=sketch.get_quantile_value(0.95),
        p99=sketch.get_quantile_value(0.99),
    )  # fmt: skip


def trend_of(now: Window, usual: Window) -> Trend:
    """How calls are beside how they usually are."""
    if min(now.calls, usual.calls) < ENOUGH:
        return Trend.UNKNOWN
    failing, before = now.failed / now.calls, usual.failed / usual.calls
    if failing >= before + FAILING_MORE and failing >= FAILING_TIMES * before:
        return Trend.FAILING
    ratio = (quantiles(now.seconds).p95 or 0.0) / (quantiles(usual.seconds).p95 or 1.0)
    if ratio >= SLOWER:
        return Trend.SLOWER
    return Trend.FASTER if ratio <= FASTER else Trend.AS_USUAL
