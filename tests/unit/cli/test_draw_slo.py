"""What a person reads of objectives."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from orchestrator.cli.slo import draw_slos
from orchestrator.core.slo import Count, Objective, ObjectiveKind, Urgency, budget_used, burn_rate
from orchestrator.ports.slo import AlarmRecord
from orchestrator.service.slos import SloReport, SloView

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SUCCESS = Objective(workflow="checkout", kind=ObjectiveKind.SUCCESS, target=0.99)
ALARM = AlarmRecord(
    id="a", workflow="checkout", kind=SUCCESS.kind, urgency=Urgency.PAGE, target=0.99,
    long_seconds=3600, bad=15, total=100, burn_rate=15.0, opened_at=NOON, burning_at=NOON,
)  # fmt: skip


def view(objective: Objective, count: Count, *alarms: AlarmRecord) -> SloView:
    counts = dict.fromkeys(objective.windows, count)
    return SloView(
        objective=objective, counts=counts, budget_used=budget_used(objective, counts),
        burn_rates={each: burn_rate(objective, count) for each in counts}, alarms=alarms,
    )  # fmt: skip


def drawn(report: SloReport) -> str:
    console = Console(width=140, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(draw_slos(report))
    return captured.get()


def test_budgets_burn_rates_and_alarms_are_told() -> None:
    slow = replace(SUCCESS, kind=ObjectiveKind.LATENCY, seconds=30.0)
    views = [view(SUCCESS, Count(good=85, bad=15), ALARM), view(slow, Count())]
    text = drawn(SloReport(at=NOON, views=views, alarms=[ALARM]))
    success, latency = (
        line.split() for line in text.splitlines() if "checkout " in line and "since" not in line
    )
    assert success == [
        "checkout", "success", "config", "0.99", "85", "15", "spent", "15.0×", "15.0×", "15.0×",
        "15.0×", "page",
    ]  # fmt: skip
    assert latency[1:4] == ["latency", "30", "s"]
    assert "still burning: checkout success, 15 of 100 bad within 1 h 0 min (15.0×)" in text


def test_nothing_is_told_as_such() -> None:
    assert "no workflow is published" in drawn(SloReport(at=NOON, views=[], alarms=[]))
