"""What the history of a workflow says about its settings. Read once: it goes through many runs."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk
from orchestrator.console.frame import frame, heading, moment, to_login, verbatim
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, row, table
from orchestrator.errors import OrchestratorError
from orchestrator.service.insights import Finding, InsightReport


def register(desk: Desk) -> None:
    """The page of one workflow's history."""

    @page("/workflows/{name}/insights")
    async def insights(request: Request, name: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame(f"What the history of {name} says", who):
            if who.tenant is not None:
                ui.label("Histories are of all tenants; this key is bound to one.")
                return None
            try:
                found = await visitor.services.insights.of(name)
            except OrchestratorError as error:
                ui.label(str(error))
                return None
            _show(found)
        return None


def address(workflow: str) -> str:
    """Of its page."""
    return f"/workflows/{quote(workflow, safe='')}/insights"


def _show(found: InsightReport) -> None:
    ui.label(
        f"Version {found.version}: {found.attempts:,} attempts of {found.runs:,} runs since"
        f" {moment(found.since)} UTC."
    )
    if not found.insights:
        ui.label("There is nothing to say.")
    for each in found.insights:
        _finding(each)


def _finding(each: Finding) -> None:
    with ui.card().classes("w-full"):
        heading(f"{each.kind.replace('_', ' ').capitalize()}: {each.about}")
        ui.label(each.said)
        with table(of=f"Evidence of {each.id}"):
            for name, value in each.evidence.items():
                with row():
                    cell(name.replace("_", " "))
                    cell(str(value))
        with ui.row().classes("gap-4"):
            for run in each.runs:
                link_to(f"run {run[-12:]}", f"/runs/{run}")
        if each.diff:
            verbatim(each.diff)
            ui.label(f"orchestrator insights … --accept {each.id}").classes("text-caption")
        elif each.undone:
            ui.label(each.undone).classes("text-caption")
