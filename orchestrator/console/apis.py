"""APIs: how they may be used now, and the switch that stops what leaves for one."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, moment, shown, to_login
from orchestrator.console.gate import draw_states, states
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, row, table
from orchestrator.service.apis import ApiOverview, ApiView
from orchestrator.service.principal import Principal


def register(desk: Desk) -> None:
    """All on one page."""

    @page("/apis")
    async def apis(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("APIs", who):
            if who.tenant is not None:
                ui.label("APIs belong to all tenants; this key is bound to one.")
                return None
            await shown(visitor, partial(states, visitor), draw_states)
            await _all(visitor)
        return None


async def _all(visitor: Visitor) -> None:
    again: Again

    async def look() -> None:
        await again()

    def show(found: ApiOverview) -> None:
        for problem in found.problems:
            ui.label(str(problem)).classes("text-negative")
        if not found.apis:
            ui.label("No API is known: no file in config/apis, no published workflow calls one.")
        for each in found.apis:
            draw_api(visitor, each, look, leads_on=True)

    again = await shown(visitor, visitor.services.apis.overview, show, every=5.0)


def draw_api(visitor: Visitor, view: ApiView, again: Again, *, leads_on: bool = False) -> None:
    """How it may be used and what changed that; `leads_on`: with the way to its own page."""
    word = "hold" if view.held is None else "release"
    with ui.card().classes("w-full"):
        with ui.row().classes("items-center gap-4 w-full"):
            heading(view.api if leads_on else "How it may be used")
            if view.held is not None:
                ui.badge("held", color="negative")
                ui.label(f"by {view.held.by} since {moment(view.held.at)}: {view.held.reason}")
            ui.space()
            if leads_on:
                link = link_to("Whom it touches", f"/apis/{quote(view.api, safe='')}")
                link.props(f"aria-label={json.dumps(f'Whom it touches: {view.api}')}")
            looks = "outline color=negative" if word == "hold" else "outline"
            question = _question(visitor, view.api, word)
            ui.button(
                f"{word.capitalize()}…", on_click=partial(ask, visitor, question, again)
            ).props(looks)
        with table("Field", "Value", "From", of=f"How {view.api} may be used"):
            for field in view.fields:
                if field.origin != "default":
                    with row():
                        cell(field.name)
                        cell("as there" if field.value is None else str(field.value))
                        cell(field.origin)
        for change in view.changes[:5]:
            told = f"{moment(change.at)} {change.kind} by {change.by}: {change.reason}"
            ui.label(told).classes("text-caption")


def _question(visitor: Visitor, api: str, word: str) -> Question:
    apis = visitor.services.apis

    async def act(who: Principal, reason: str) -> str:
        who.require_all_tenants()
        change = apis.hold if word == "hold" else apis.release
        await change(api, by=who.name, reason=reason)
        return f"{api} is held." if word == "hold" else f"{api} is released."

    return Question(
        title=f"{word.capitalize()} {api}", verb=word.capitalize(), does=act, grave=word == "hold",
        label="Why (kept with the change)",
        means="Nothing leaves for it; runs that need it park and come back by themselves."
        if word == "hold" else "Runs that wait for it go on.",
    )  # fmt: skip
