"""One API: how it may be used, how its calls are, and whom it touches of the unended runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.apis import draw_api
from orchestrator.console.asking import Again
from orchestrator.console.calls import draw_calls
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, moment, shown, to_login
from orchestrator.console.links import page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.service.impact import OTHERS, Counts, Impact

EVERY_SECONDS = 10.0
OUTAGES = {"15": "15 minutes", "60": "an hour", "480": "8 hours", "1440": "a day"}
"""In minutes."""
USUAL = "60"
MOST = 25
TOUCHED = (
    ("At it now", "blocked"), ("of them parked", "parked"), ("Will come to it", "ahead"),
    ("Have used it", "past"), ("Go back, or would, through it", "undo"),
)  # fmt: skip
WHAT_IF = (
    ("Wait for it", "waiting"), ("Reach their deadline and turn back", "turning_back"),
    ("Reach it past their pivot: a person decides", "escalating"),
    ("Cannot finish going back", "undo_waiting"),
)  # fmt: skip
COLUMNS = (
    ("Need it", "affected"), ("At it", "blocked"), ("Ahead", "ahead"), ("Past", "past"),
    ("Undo", "undo"), ("Would turn back", "turning_back"), ("Would need a person", "escalating"),
)  # fmt: skip
UNENDED = ",".join(each for each in RunStatus if each not in FINAL)


def register(desk: Desk) -> None:
    """The page of one."""

    @page("/apis/{api}")
    async def one(request: Request, api: str, away: str = USUAL) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame(f"API {api}", who):
            if who.tenant is not None:
                ui.label("APIs belong to all tenants; this key is bound to one.")
                return None
            await _use(visitor, api)
            await draw_calls(visitor, api)
            await _touched(visitor, api, away if away in OUTAGES else USUAL)
        return None


def address(api: str, *, away: str = USUAL) -> str:
    """Of its page."""
    told = "" if away == USUAL else "?" + urlencode({"away": away})
    return f"/apis/{quote(api, safe='')}{told}"


async def _use(visitor: Visitor, api: str) -> None:
    again: Again

    async def look() -> None:
        await again()

    again = await shown(
        visitor, partial(visitor.services.apis.show, api),
        lambda view: draw_api(visitor, view, look), every=EVERY_SECONDS,
    )  # fmt: skip


async def _touched(visitor: Visitor, api: str, away: str) -> None:
    heading("Whom it touches")
    chosen = ui.select(OUTAGES, value=away, label="What if it is away for").props("dense")
    chosen.style("width: 14rem")
    chosen.on_value_change(lambda: ui.navigate.to(address(api, away=str(chosen.value))))

    async def read() -> Impact:
        (await visitor.principal()).require_all_tenants()
        return await visitor.services.impacts.of(api, outage_seconds=60.0 * int(away))

    await shown(
        visitor, read, partial(_show, OUTAGES[away]), every=EVERY_SECONDS,
        by=lambda found: (found.active, found.total, found.by_workflow, found.by_tenant),
    )  # fmt: skip


def _show(away: str, found: Impact) -> None:
    ui.label(f"{found.total.affected:,} of {found.active:,} runs that have not ended need it.")
    with ui.row().classes("w-full gap-8 items-start"):
        _facts("Now", TOUCHED, found.total)
        _facts(f"If it is away for {away}", WHAT_IF, found.total)
    _table("Workflow", "workflow", found.by_workflow)
    _table("Tenant", "tenant", found.by_tenant)
    ui.label(f"As it was at {moment(found.at)} UTC.").classes("text-caption")


def _facts(name: str, facts: tuple[tuple[str, str], ...], counts: Counts) -> None:
    with ui.element("div"):
        ui.label(name).classes("text-bold")
        with table(of=name):
            for text, field in facts:
                with row():
                    cell(f"{getattr(counts, field):,}")
                    cell(text)


def _table(what: str, of: str, found: Mapping[str, Counts]) -> None:
    if not found:
        return
    with table(what, *(name for name, _ in COLUMNS), of=f"By {of}"):
        for name, counts in list(found.items())[:MOST]:
            with row():
                if name == OTHERS:
                    cell(name)
                else:
                    link_cell(name, f"/runs?{urlencode({'status': UNENDED, of: name}, safe=',')}")
                for _, field in COLUMNS:
                    cell(f"{getattr(counts, field):,}")
    if len(found) > MOST:
        ui.label(f"and {len(found) - MOST:,} more: orchestrator apis impact").classes(
            "text-caption"
        )
