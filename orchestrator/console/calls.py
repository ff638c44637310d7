"""How the calls of one API are, as all workers see them, beside how they usually are."""

from __future__ import annotations

from nicegui import ui

from orchestrator.console.desk import Visitor
from orchestrator.console.frame import heading, shown
from orchestrator.console.tables import cell, row, table
from orchestrator.service.api_health import ApiHealths, Compared, Trend

EVERY_SECONDS = 30.0
MOST = 25
COLUMNS = (
    "Operation", "Calls", "Failed", "429", "p50", "p95", "p99", "Usual p95", "Waited", "Trend",
)  # fmt: skip


async def draw_calls(visitor: Visitor, api: str) -> None:
    """A table of its operations, the whole API first."""
    heading("How its calls are")

    async def read() -> ApiHealths:
        (await visitor.principal()).require_all_tenants()
        return await visitor.services.api_health.of(api)

    await shown(visitor, read, _show, every=EVERY_SECONDS)


def _show(found: ApiHealths) -> None:
    for each in found.apis:
        with table(*COLUMNS, of="Calls by operation"):
            _line("All together", each.whole)
            for one in each.operations[:MOST]:
                _line(one.name, one)
        more = len(each.operations) - MOST
        if more > 0:
            ui.label(f"and {more:,} more: orchestrator apis health").classes("text-caption")
    told = f"The last {found.minutes:g} minutes, beside the {found.baseline_days:g} days before."
    ui.label(told if found.apis else "Nothing was called in the last days.").classes("text-caption")


def _line(name: str, one: Compared) -> None:
    now = one.now
    with row():
        cell(name)
        cell(f"{now.calls:,}")
        cell(f"{now.failed_share:.1%}")
        cell(f"{now.throttled_share:.1%}")
        for seconds in (now.latency.p50, now.latency.p95, now.latency.p99, one.usual.latency.p95):
            cell(_seconds(seconds))
        cell(f"{now.waited_share:.1%}")
        cell("" if one.trend is Trend.UNKNOWN else one.trend.replace("_", " "))


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
