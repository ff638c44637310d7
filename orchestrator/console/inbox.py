"""The inbox of what needs a person, and acts on all that fit a filter."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.bulk import Bulk, bulk_button
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import ago, frame, moment, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.errors import InvalidInput
from orchestrator.ports import EscalationFilter
from orchestrator.service.principal import Principal
from orchestrator.service.where import escalations_where

PAGE = 100
COLUMNS = (
    "Escalation", "Severity", "Due", "Workflow", "Step", "Why", "Tenant", "Opened", "With"
)  # fmt: skip
EXAMPLE = "api=payments and reason=compensation_failed and age>30m and detail~'time out'"
BULKS = (
    Bulk(kind="escalations.retry", verb="Retry all",
         means="Each stuck call is made again, with the same key and bytes."),
    Bulk(kind="escalations.resolve", verb="All are done", asks=lambda: lambda: {"landed": True},
         means="You vouch that each stuck call is done; the rest of each run goes on."),
    Bulk(kind="escalations.skip", verb="Skip all",
         means="Each stuck undo's effect is left standing; the remaining undos go on."),
    Bulk(kind="escalations.abandon", verb="Abandon all", grave=True,
         means="Each run ends where it is. Final."),
)  # fmt: skip


def register(desk: Desk) -> None:
    """The inbox."""

    @page("/escalations")
    async def escalations(
        request: Request, where: str = "", order: str = "", after: str = ""
    ) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Escalations", who):
            soonest = order == "due"
            _filters(who, where, soonest=soonest)
            try:
                wanted = _wanted(who, where)
            except InvalidInput as error:
                for each in error.problems:
                    ui.label(f"{each.place}: found {each.found}; wanted {each.wanted}").classes(
                        "text-negative"
                    )
                return None
            await _bulk(visitor, wanted)
            await _list(visitor, wanted, where, soonest=soonest, after=after)
        return None


def _wanted(who: Principal, where: str) -> EscalationFilter:
    wanted = escalations_where(where, place="filter") if where.strip() else EscalationFilter()
    return msgspec.structs.replace(wanted, tenant=who.tenant_of(wanted.tenant))


def _address(where: str, *, soonest: bool, after: str = "") -> str:
    fields = {"where": where, "order": "due" if soonest else "", "after": after}
    told = urlencode({name: value for name, value in fields.items() if value})
    return f"/escalations?{told}" if told else "/escalations"


def _filters(who: Principal, where: str, *, soonest: bool) -> None:
    with ui.row().classes("items-end gap-4 w-full"):
        text = ui.input("Filter", value=where, placeholder=EXAMPLE).classes("col")
        text.style("min-width: 16rem")  # on a phone it has a line of its own
        text.props('dense clearable stack-label aria-keyshortcuts="/" aria-label="Filter"')
        due = ui.checkbox("Soonest due first", value=soonest)

        def go() -> None:
            ui.navigate.to(_address(text.value or "", soonest=bool(due.value)))

        text.on("keydown.enter", go)
        due.on_value_change(go)
        ui.button("Show", on_click=go)
    with ui.row().classes("gap-4"):
        for name, condition, key in (
            ("All", "", "a"), ("Nobody's", "claimed=no", "n"),
            ("Mine", f"claimed_by='{who.name}'", "m"),
        ):  # fmt: skip
            link = link_to(name, _address(condition, soonest=soonest))
            link.props(f'aria-keyshortcuts="{key}"')
            if condition == where:
                link.props('aria-current="true"').classes("text-bold")


async def _bulk(visitor: Visitor, wanted: EscalationFilter) -> None:
    """What can be done with all of them at once."""

    def show(fit: int) -> None:
        if not fit:
            return
        with ui.row().classes("items-center gap-2"):
            free = wanted.claimed is None and wanted.claimed_by is None
            ui.label(f"{fit:,} {'that nobody has taken' if free else 'like this'}:")
            for each in BULKS:
                bulk_button(visitor, wanted, each)

    await shown(visitor, partial(visitor.services.jobs.count, "escalations.retry", wanted), show)


async def _list(
    visitor: Visitor, wanted: EscalationFilter, where: str, *, soonest: bool, after: str
) -> None:
    desk = visitor.services.escalations
    which = msgspec.structs.replace(
        wanted, order_by_due=soonest, after=None if soonest else after or None, limit=PAGE + 1
    )

    async def read() -> list[tuple[str, ...]]:
        await visitor.principal()
        found, now = await desk.list(which), await visitor.services.runs.now()
        rows: list[tuple[str, ...]] = []
        for each in found:
            due = desk.urgency.due_at(each)
            rows.append((
                each.id, str(desk.urgency.severity(each)),
                f"overdue since {moment(due)}" if due <= now else moment(due), each.workflow,
                f"{each.step_id or '-'} ({each.direction})", f"{each.reason}: {each.detail[:120]}",
                each.tenant, ago(each.opened_at, now), each.claimed_by or "nobody",
            ))  # fmt: skip
        return rows

    def show(rows: list[tuple[str, ...]]) -> None:
        if not rows:
            ui.label("Nothing like this needs a person." if where else "Nothing needs a person.")
            return
        with table(*COLUMNS, of="Escalations"):
            for known, *rest in rows[:PAGE]:
                with row():
                    link_cell(known[-12:], f"/escalations/{known}")
                    for name, text in zip(COLUMNS[1:], rest, strict=True):
                        cell(text, wraps=name in ("Step", "Why"))
        if len(rows) > PAGE and not soonest:
            link_to("Newer", _address(where, soonest=False, after=rows[PAGE - 1][0]))

    await shown(visitor, read, show)
