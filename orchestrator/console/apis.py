"""APIs: how they may be used now, and the switch that stops what leaves for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, live, moment, tell, to_login
from orchestrator.console.runs import cell, head
from orchestrator.errors import OrchestratorError
from orchestrator.ports import Role
from orchestrator.service.apis import ApiView


def register(desk: Desk) -> None:
    """All on one page."""

    @ui.page("/apis")
    async def apis(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("APIs", who):
            if who.tenant is not None:
                ui.label("APIs belong to all tenants; this key is bound to one.")
                return None
            await _all(visitor)
        return None


async def _all(visitor: Visitor) -> None:
    @ui.refreshable
    async def content() -> None:
        await visitor.principal()
        found = await visitor.services.apis.overview()
        for problem in found.problems:
            ui.label(str(problem)).classes("text-negative")
        if not found.apis:
            ui.label("No API is known: no file in config/apis, no published workflow.")
        for each in found.apis:
            word = "hold" if each.held is None else "release"
            _card(each, word, partial(_ask, visitor, each.api, word, content.refresh))

    await content()
    live(content.refresh, every=5.0)


def _card(view: ApiView, word: str, ask: Callable[[], None]) -> None:
    with ui.card().classes("w-full"):
        with ui.row().classes("items-center gap-4 w-full"):
            ui.label(view.api).classes("text-h6")
            if view.held is not None:
                ui.badge("held", color="negative")
                ui.label(f"by {view.held.by} since {moment(view.held.at)}: {view.held.reason}")
            ui.space()
            looks = "outline color=negative" if word == "hold" else "outline"
            ui.button(f"{word.capitalize()}…", on_click=ask).props(looks)
        with ui.element("table").classes("text-left"):
            head("Field", "Value", "From")
            with ui.element("tbody"):
                for field in view.fields:
                    if field.origin != "default":
                        with ui.element("tr"):
                            cell(field.name)
                            cell(str(field.value))
                            cell(field.origin)
        for change in view.changes[:5]:
            told = f"{moment(change.at)} {change.kind} by {change.by}: {change.reason}"
            ui.label(told).classes("text-caption")


def _ask(visitor: Visitor, api: str, word: str, again: Callable[[], Any]) -> None:
    """For a reason; then it is done."""
    with ui.dialog() as dialog, ui.card():
        ui.label(f"{word.capitalize()} {api}").classes("text-h6")
        reason = ui.input("Why (kept with the change)").classes("w-80")

        async def act() -> None:
            apis = visitor.services.apis
            try:
                who = await visitor.principal(Role.OPERATOR)
                change = apis.hold if word == "hold" else apis.release
                await change(api, by=who.name, reason=reason.value)
            except OrchestratorError as error:
                tell(error)
                return
            dialog.close()
            await again()

        with ui.row():
            button = ui.button(word.capitalize(), on_click=act)
            button.bind_enabled_from(reason, "value", backward=lambda text: bool(text.strip()))
            ui.button("Back", on_click=dialog.close).props("flat")
    dialog.open()
