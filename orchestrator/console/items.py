"""Items of a run's map over data, by page: each with its run, and why it failed."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import badge, frame, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.maps import ItemOutcome
from orchestrator.errors import NotFound
from orchestrator.ports.maps import MapRecord
from orchestrator.service.runs import ItemView

PAGE = 50
_COLUMNS = ("Item", "Run", "Outcome", "Status", "Cause")


def register(desk: Desk) -> None:
    """The page of one map."""

    @page("/runs/{run_id}/items")
    async def items(
        request: Request, run_id: str, step: str = "", outcome: str = "", after: int = -1
    ) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        wanted = ItemOutcome(outcome) if outcome in set(ItemOutcome) else None
        with frame(f"Items of run {run_id[-12:]}", await visitor.principal()):
            await _list(visitor, run_id, step, wanted, after)
        return None


def address(run_id: str, step: str, *, outcome: ItemOutcome | None = None, after: int = -1) -> str:
    """Of the page that shows these."""
    fields = {"step": step, "outcome": outcome or "", "after": "" if after < 0 else after}
    told = urlencode({name: value for name, value in fields.items() if value != ""})
    return f"/runs/{quote(run_id, safe='')}/items?{told}"


def draw_map(run_id: str, found: MapRecord) -> None:
    """How far a map has come, with the way to its items."""
    told = found.counts.in_words(undoes=found.undoes is not None)
    if found.undoes is None:
        link_to(f"Items of {found.step_id}: {told}", address(run_id, found.step_id))
    else:
        ui.label(f"Undo of {found.step_id}: {told}")


async def _list(
    visitor: Visitor, run_id: str, step: str, outcome: ItemOutcome | None, after: int
) -> None:
    async def read() -> list[ItemView]:
        who = await visitor.principal()
        run = await visitor.services.runs.get(run_id)
        if not who.sees(run.tenant):
            raise NotFound(f"no such run: {run_id}")
        found = await visitor.services.runs.items(
            run.id, step=step or None, outcome=outcome, after=after, limit=PAGE + 1
        )
        return list(found)

    link_to(f"Run {run_id[-12:]}", f"/runs/{run_id}").classes("mono")
    with ui.row().classes("items-center gap-4"):
        for name, wanted in (("All", None), *((each.capitalize(), each) for each in ItemOutcome)):
            link = link_to(name, address(run_id, step, outcome=wanted))
            if wanted is outcome:
                link.props('aria-current="true"').classes("text-bold")
    await shown(
        visitor, read, partial(_show, run_id, step, outcome),
        by=lambda items: [(each.index, each.outcome, each.run.status) for each in items],
    )  # fmt: skip


def _show(run_id: str, step: str, outcome: ItemOutcome | None, items: list[ItemView]) -> None:
    if not items:
        ui.label("No items.")
        return
    with table(*_COLUMNS, of="Items"):
        for each in items[:PAGE]:
            with row():
                cell(f"{each.index:,}", wraps=False)
                link_cell(each.run.id[-12:], f"/runs/{each.run.id}")
                cell(each.outcome.value, wraps=False)
                with ui.element("td").classes("q-pr-md"):
                    badge(each.run.status)
                cell(each.run.cause)
    if len(items) > PAGE:
        last = items[PAGE - 1].index
        link_to("Next page", address(run_id, step, outcome=outcome, after=last))
