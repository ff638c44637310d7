"""Objectives of workflows: error budgets, how fast they burn, and alarms."""

from __future__ import annotations

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, moment, shown, to_login
from orchestrator.console.links import page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.slo import DAY, HOUR, budget_left
from orchestrator.ports.slo import AlarmRecord
from orchestrator.service.slos import SloReport, SloView

EVERY_SECONDS = 15.0
COLUMNS = (
    "Workflow", "Objective", "Said in", "Target", "Good", "Bad", "Budget left", "Burns, 1 h",
    "6 h", "3 d", "Alarm",
)  # fmt: skip


def register(desk: Desk) -> None:
    """All on one page."""

    @page("/objectives")
    async def objectives(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Objectives", who):
            if who.tenant is not None:
                ui.label("Objectives are of workflows of all tenants; this key is bound to one.")
                return None
            await _all(visitor)
        return None


async def _all(visitor: Visitor) -> None:
    async def read() -> SloReport:
        (await visitor.principal()).require_all_tenants()
        return await visitor.services.slos.report()

    def show(found: SloReport) -> None:
        if not found.views:
            ui.label("No workflow is published, and config/slos.yaml names none.")
            return
        with table(*COLUMNS, of="Objectives"):
            for view in found.views:
                _line(view)
        if found.alarms:
            heading("Alarms of the last week")
        for alarm in found.alarms:
            _alarm(alarm)

    await shown(visitor, read, show, every=EVERY_SECONDS)


def _line(view: SloView) -> None:
    objective = view.objective
    budget = view.counts[objective.window_days * DAY]
    seconds = "" if objective.seconds is None else f" within {objective.seconds:g} s"
    with row():
        link_cell(objective.workflow, f"/workflows/{objective.workflow}")
        cell(f"{objective.kind}{seconds}")
        cell(objective.source)
        cell(f"{objective.target:.4g}")
        cell(f"{budget.good:,}")
        cell(f"{budget.bad:,}")
        cell(budget_left(view.budget_used, budget.total))
        for window in (HOUR, 6 * HOUR, 3 * DAY):
            cell(f"{view.burn_rates[window]:.1f}×")
        cell(", ".join(sorted(each.urgency for each in view.alarms)) or "–")


def _alarm(alarm: AlarmRecord) -> None:
    ended = "it still burns" if alarm.closed_at is None else f"until {moment(alarm.closed_at)}"
    told = ui.label(
        f"{alarm.urgency} since {moment(alarm.opened_at)}, {ended}: {alarm.workflow}"
        f" {alarm.kind}, {alarm.bad:,} of {alarm.total:,} bad ({alarm.burn_rate:.1f}×)"
    )
    told.classes("text-negative" if alarm.closed_at is None else "text-caption")
