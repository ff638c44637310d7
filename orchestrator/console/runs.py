"""Runs: a list whose filters stand in its address, and can be kept under a name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request, Response
from msgspec.structs import replace
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import badge, frame, moment, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.runs_bulk import draw_bulk
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.states import RunStatus
from orchestrator.definitions.attribute_texts import parse_pairs
from orchestrator.errors import InvalidInput, NotAllowed
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.principal import Principal
from orchestrator.service.where import LONGEST_TEXT

PAGE = 50
AGES = {"": "at any time", "1": "in the last hour", "24": "in the last day", "168": "in a week"}
"""Of acceptance, in hours."""
VIEWS = (
    ("All", ""), ("Going on", "status=pending,running,waiting,parked,compensating"),
    ("Paused", "status=paused"), ("Need a person", "status=escalated"),
    ("Undone in the last day", "status=compensated&hours=24"),
)  # fmt: skip
"""Views that everybody has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The filters as they stand in the address; empty: any."""

    status: str = ""
    workflow: str = ""
    tenant: str = ""
    actor: str = ""
    hours: str = ""
    attribute: str = ""  # NAME=VALUE
    text: str = ""

    @property
    def statuses(self) -> list[RunStatus]:
        """Those that there are."""
        return [RunStatus(each) for each in self.status.split(",") if each in set(RunStatus)]

    @property
    def names_some(self) -> bool:
        """Whether they leave any runs out."""
        told = (self.workflow, self.tenant, self.actor, self.hours, self.attribute)
        return bool(self.statuses or self.text.strip()) or any(told)

    def filter_of(self, who: Principal) -> RunFilter:
        """The runs that somebody means by them. Raises InvalidInput, NotAllowed."""
        return RunFilter(
            status=frozenset(self.statuses) or None, workflow=self.workflow or None,
            tenant=who.tenant_of(self.tenant or None), actor=self.actor or None,
            younger_than_seconds=int(self.hours) * 3600.0 if self.hours else None,
            attributes=parse_pairs("attribute", [self.attribute]) if self.attribute else None,
            text=self.text[:LONGEST_TEXT] if self.text.strip() else None,
        )  # fmt: skip

    def address(self, *, before: str = "") -> str:
        """Of the page that shows these."""
        fields = {
            "status": self.status, "workflow": self.workflow, "tenant": self.tenant,
            "actor": self.actor, "hours": self.hours, "attribute": self.attribute,
            "text": self.text, "before": before,
        }  # fmt: skip
        told = urlencode({name: value for name, value in fields.items() if value}, safe=",")
        return f"/runs?{told}" if told else "/runs"


def register(desk: Desk) -> None:
    """The list."""

    @page("/runs")
    async def runs(
        request: Request, status: str = "", workflow: str = "", tenant: str = "", hours: str = "",
        attribute: str = "", text: str = "", before: str = "", actor: str = "",
    ) -> Response | None:  # fmt: skip
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        wanted = Wanted(
            status=status, workflow=workflow, tenant=tenant, hours=hours if hours in AGES else "",
            attribute=attribute, text=text, actor=actor,
        )  # fmt: skip
        with frame("Runs", who):
            _views(wanted)
            _filters(wanted, bound=who.tenant is not None)
            try:
                which = wanted.filter_of(who)
            except (InvalidInput, NotAllowed) as error:
                ui.label(str(error)).classes("text-negative")
                return None
            if wanted.names_some:
                await draw_bulk(visitor, which)
            await _list(visitor, wanted, which, before)
        return None


def _views(wanted: Wanted) -> None:
    with ui.row().classes("items-center gap-4"):
        for name, fields in VIEWS:
            target = f"/runs?{fields}" if fields else "/runs"
            link = link_to(name, target)
            if target == wanted.address():
                link.props('aria-current="true"').classes("text-bold")
        ui.element("div").props("id=views").classes("row gap-4")  # filled by page.js
        keep = ui.button("Keep this view…", on_click=_ask_to_keep).props("flat dense")
        keep.props('aria-keyshortcuts="v"')


def _ask_to_keep() -> None:
    with ui.context.client.content, ui.dialog() as dialog, ui.card().style("width: 24rem"):
        dialog.props('aria-label="Keep this view"')
        ui.label("Keep this view").classes("text-h6").props('role="heading" aria-level="2"')
        ui.label("Its filters under a name, in this browser.")
        name = ui.input("Name").classes("w-full").props("autofocus maxlength=40")

        def keep() -> None:
            if name.value.strip():
                told = json.dumps(name.value.strip())
                ui.run_javascript(
                    f"consolePage.keepView({told}, location.pathname + location.search)"
                )
                dialog.close()

        name.on("keydown.enter", keep)
        with ui.row():
            ui.button("Keep", on_click=keep)
            ui.button("Back", on_click=dialog.close).props("flat")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _filters(wanted: Wanted, *, bound: bool) -> None:
    with ui.row().classes("items-end gap-4"):
        chosen = ui.select(
            [str(each) for each in RunStatus], value=[str(each) for each in wanted.statuses],
            multiple=True, label="Status",
        ).classes("min-w-48").props("dense use-chips")  # fmt: skip
        named = ui.input("Workflow", value=wanted.workflow).props("dense clearable")
        named.props('aria-keyshortcuts="/" aria-label="Workflow"')
        of = ui.input("Tenant", value=wanted.tenant).props("dense clearable")
        of.set_visibility(not bound)
        with_one = ui.input("Attribute", value=wanted.attribute, placeholder="customer=42")
        with_one.props("dense clearable")
        age = ui.select(AGES, value=wanted.hours, label="Accepted").props("dense")
        searched = ui.input("Search", value=wanted.text).props("dense clearable maxlength=200")
        searched.props('placeholder="key, attribute, error …"')
        looked_up = ui.input("Id of a run, or its end").props("dense")

        def go() -> None:
            if looked_up.value:
                ui.navigate.to(f"/runs/{looked_up.value.strip()}")
                return
            ui.navigate.to(Wanted(
                status=",".join(chosen.value), workflow=named.value or "", tenant=of.value or "",
                hours=age.value or "", attribute=with_one.value or "", text=searched.value or "",
                actor=wanted.actor,
            ).address())  # fmt: skip

        for field in (named, of, with_one, searched, looked_up):
            field.classes("w-36").on("keydown.enter", go)  # all in one line at 1280 pixels
        ui.button("Show", on_click=go)
        if wanted.actor:  # a page of somebody's runs leads here
            ui.label(f"by {wanted.actor}")
            link_to("by anybody", dataclasses.replace(wanted, actor="").address())


async def _list(visitor: Visitor, wanted: Wanted, which: RunFilter, before: str) -> None:
    page = replace(which, before=before or None, limit=PAGE + 1)

    async def read() -> list[RunRecord]:
        await visitor.principal()
        return await visitor.services.runs.list(page)

    def show(found: list[RunRecord]) -> None:
        _table(found[:PAGE])
        with ui.row():
            if before:
                link_to("Newest", wanted.address())
            if len(found) > PAGE:
                link_to("Older", wanted.address(before=found[PAGE - 1].id))

    await shown(visitor, read, show)


def _table(runs: Sequence[RunRecord]) -> None:
    if not runs:
        ui.label("No run is like this.")
        return
    columns = ["Run", "Workflow", "Status", "Tenant", "Actor", "Accepted (UTC)", "Cause"]
    has_reruns = any(each.rerun_of for each in runs)
    if has_reruns:
        columns.append("Rerun of")
    with table(*columns, of="Runs"):
        for each in runs:
            with row():
                link_cell(each.id[-12:], f"/runs/{each.id}")
                cell(f"{each.workflow} v{each.version}", wraps=False)
                with ui.element("td"):
                    badge(each.status)
                cell(each.tenant, wraps=False)
                cell(each.actor)
                cell(moment(each.created_at), wraps=False)
                cell(each.cause[:120])
                if has_reruns:
                    _old_run(each)


def _old_run(run: RunRecord) -> None:
    if run.rerun_of is None:
        cell("")
    else:
        link_cell(run.rerun_of[-12:], f"/runs/{run.rerun_of}")
