"""Workflows: what is published, and what undoes each step."""

from __future__ import annotations

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk
from orchestrator.console.frame import frame, moment, to_login, verbatim
from orchestrator.console.graph import draw_plan
from orchestrator.console.runs import cell, head
from orchestrator.core.plan import Effects, PlanStep
from orchestrator.errors import OrchestratorError


def register(desk: Desk) -> None:
    """The catalogue, and one workflow."""

    @ui.page("/workflows")
    async def workflows(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Workflows", await visitor.principal()):
            found = await visitor.services.workflows.list()
            if not found:
                ui.label("Nothing is published: orchestrator workflows publish FILE")
                return None
            with ui.element("table").classes("w-full text-left"):
                head("Workflow", "Version", "Steps", "Undone", "Title", "Published (UTC)", "By")
                with ui.element("tbody"):
                    for each in found:
                        steps = each.plan.steps
                        effects = [s for s in steps if s.call.effects is not Effects.NONE]
                        covered = sum(s.compensation is not None for s in effects)
                        with ui.element("tr"):
                            with ui.element("td"):
                                ui.link(each.workflow, f"/workflows/{each.workflow}")
                            cell(str(each.version))
                            cell(str(len(steps)))
                            cell(f"{covered} of {len(effects)} effects")
                            cell(each.plan.title)
                            cell(moment(each.published_at))
                            cell(each.published_by)
        return None

    @ui.page("/workflows/{name}")
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
            ui.link("Its runs", f"/runs?workflow={name}")
            draw_plan(found.plan)
            with ui.element("table").classes("w-full text-left"):
                head("Step", "Calls", "API", "Effects", "Undone by")
                with ui.element("tbody"):
                    for step in found.plan.steps:
                        with ui.element("tr"):
                            cell(step.id + (" (pivot)" if step.pivot else ""))
                            cell(step.call.label)
                            cell(step.call.api)
                            cell(step.call.effects)
                            cell(_undone_by(step))
            with ui.expansion("Document").classes("w-full"):
                verbatim(found.document)
        return None


def _undone_by(step: PlanStep) -> str:
    if step.compensation is not None:
        return f"{step.compensation.call.label} ({step.compensation.kind})"
    return step.no_compensation_reason or ("" if step.call.effects is Effects.NONE else "nothing")
