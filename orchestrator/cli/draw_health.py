"""How APIs are, for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import table
from orchestrator.service.api_health import ApiHealths, CallsSeen, Compared, Quantiles, Trend

_STYLES = {Trend.FAILING: "red", Trend.SLOWER: "yellow", Trend.FASTER: "green"}
_COLUMNS = ("calls", "failed", "429", "p50", "p95", "p99", "usual p95", "waited", "wait p95")


def draw_health(found: ApiHealths) -> RenderableType:
    """A line for each API, and one for each of its operations."""
    if not found.apis:
        return Text("no calls in this time, nor before")
    drawn = table("API", *_COLUMNS, "trend", right=_COLUMNS, wide=("API",), spare=("wait p95",))
    for each in found.apis:
        drawn.add_row(*_row(each.whole), style="bold")
        for one in each.operations:
            drawn.add_row(*_row(one, indent="  "))
    head = f"the last {found.minutes:g} minutes, beside the {found.baseline_days:g} days before"
    return Group(Text(head), drawn)


def _row(one: Compared, indent: str = "") -> list[RenderableType]:
    now = one.now
    return [
        Text(f"{indent}{one.name}"), Text(f"{now.calls:,}"), Text(f"{now.failed_share:.1%}"),
        Text(f"{now.throttled_share:.1%}"), *map(Text, _times(now.latency)),
        Text(_seconds(one.usual.latency.p95)), *map(Text, _waits(now)),
        Text(one.trend.replace("_", " "), style=_STYLES.get(one.trend, "")),
    ]  # fmt: skip


def _times(found: Quantiles) -> list[str]:
    return [_seconds(found.p50), _seconds(found.p95), _seconds(found.p99)]


def _waits(now: CallsSeen) -> list[str]:
    return [f"{now.waited_share:.1%}", _seconds(now.wait.p95)]


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
