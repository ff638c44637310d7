"""Workflows: what is published, and what undoes each step."""

from __future__ import annotations

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console import insights
from orchestrator.console.aliases import draw_aliases
from orchestrator.console.asking import Again
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, keyed, moment, shown, to_login, verbatim
from orchestrator.console.graph import draw_plan
from orchestrator.console.links import link_to, page
from orchestrator.console.pauses import active_pauses, ask_to_pause, resume_button
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.plan import Effects, PlanStep
from orchestrator.errors import OrchestratorError
from orchestrator.ports import Pause
from orchestrator.service.pausing import Scope


def register(desk: Desk) -> None:
    """The catalogue, and one workflow."""

    @page("/workflows")
    async def workflows(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Workflows", await visitor.principal()):
            found = await visitor.services.workflows.list()
            if not found:
                ui.label("Nothing is published: orchestrator workflows publish FILE")
                return None
            columns = ("Workflow", "Version", "Steps", "Undone", "Title", "Published (UTC)", "By")
            with table(*columns, of="Workflows"):
                for each in found:
                    steps = each.plan.steps
                    effects = [s for s in steps if s.call.effects is not Effects.NONE]
                    covered = sum(s.compensation is not None for s in effects)
                    with row():
                        link_cell(each.workflow, f"/workflows/{each.workflow}")
                        cell(str(each.version))
                        cell(str(len(steps)))
                        cell(f"{covered} of {len(effects)} effects")
                        cell(each.plan.title)
                        cell(moment(each.published_at), wraps=False)
                        cell(each.published_by)
        return None

    @page("/workflows/{name}")
    async def workflow(request: Request, name: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Workflow {name}", await visitor.principal()):
            try:
                found = await visitor.services.workflows.show(name)
            except OrchestratorError as error:
                ui.label(str(error))
                return None
            ui.label(f"Version {found.version}: {found.plan.title}")
            await _standing(visitor, name)
            await draw_aliases(visitor, name)
            draw_plan(found.plan)
            with table("Step", "Calls", "API", "Effects", "Undone by", of="Steps"):
                for step in found.plan.steps:
                    with row():
                        cell(step.id + (" (pivot)" if step.pivot else ""))
                        cell(step.call.label)
                        cell(step.call.api)
                        cell(step.call.effects)
                        cell(_undone_by(step))
            with ui.expansion("Document").classes("w-full"):
                verbatim(found.document)
        return None


async def _standing(visitor: Visitor, name: str) -> None:
    """Its runs, and whether they may begin anything."""
    again: Again

    async def look() -> None:
        await again()

    async def read() -> list[Pause]:
        return [each for each in await active_pauses(visitor) if each.workflow in (None, name)]

    def show(pauses: list[Pause]) -> None:
        with ui.row().classes("items-center gap-4"):
            link_to("Its runs", f"/runs?workflow={name}").props('aria-keyshortcuts="o"')
            link_to("What its history says", insights.address(name))
            for each in pauses:
                if each.run_id is None:
                    ui.label(f"a pause of {each.scope}: {each.reason} ({each.by})")
                    resume_button(visitor, each, look)
            if not any(each.workflow == name and each.tenant is None for each in pauses):
                button = ui.button(
                    "Pause…", on_click=lambda: ask_to_pause(visitor, Scope(workflow=name), look)
                )
                keyed(button.props("outline dense").classes("q-px-sm"), "p")

    again = await shown(visitor, read, show)


def _undone_by(step: PlanStep) -> str:
    if step.compensation is not None:
        return f"{step.compensation.call.label} ({step.compensation.kind})"
    return step.no_compensation_reason or ("" if step.call.effects is Effects.NONE else "nothing")
