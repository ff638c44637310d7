"""One run: its steps in time, its audit, its attempts, its graph, and what can be done about it."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import COLOURS, badge, frame, moment, shown, to_login, verbatim
from orchestrator.console.graph import draw_run
from orchestrator.console.items import draw_map
from orchestrator.console.links import link_to, page
from orchestrator.console.proposals import draw_proposals
from orchestrator.console.run_acts import draw_acts
from orchestrator.console.run_edits import draw_edit, draw_edits
from orchestrator.console.tables import cell, row, table
from orchestrator.core.states import SETTLED, Direction, RunStatus
from orchestrator.errors import NotFound
from orchestrator.ports import HELD, ProposalFilter, RunRecord
from orchestrator.service.explaining import story_of
from orchestrator.service.runs import ChainLink, RunView
from orchestrator.telemetry.plain import plain

MOST_RELATIVES = 5
TABS = ("Story", "Audit", "Attempts", "Graph", "JSON")


def register(desk: Desk) -> None:
    """The page of one."""

    @page("/runs/{run_id}")
    async def run(request: Request, run_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Run {run_id[-12:]}", await visitor.principal()):
            await _one(visitor, run_id)
        return None


async def _one(visitor: Visitor, run_id: str) -> None:
    again: Again
    tab = {"value": TABS[0]}  # stays chosen when the page is drawn anew

    async def read() -> RunView:
        who = await visitor.principal()
        view = await visitor.services.runs.show(run_id)
        if not who.sees(view.run.tenant):
            raise NotFound(f"no such run: {run_id}")
        return view

    async def look() -> None:
        await again()

    await _proposals(visitor, run_id)
    again = await shown(
        visitor, read, partial(_show, visitor, look, tab),
        by=lambda view: (
            view.run.status, view.run.audit_seq, view.stopped_by,
            [(each.id, each.status) for each in view.reruns], view.maps,
        ),
    )  # fmt: skip


async def _proposals(visitor: Visitor, run_id: str) -> None:
    """What waits for a second person about it."""
    try:
        run = await visitor.services.runs.get(run_id)
    except NotFound:
        return  # which is said below
    await draw_proposals(visitor, ProposalFilter(run_id=run.id))


def _show(visitor: Visitor, again: Again, tab: dict[str, str], view: RunView) -> None:
    _facts(visitor, view, again)
    _timeline(view)
    with ui.tabs().classes("w-full").bind_value(tab, "value") as tabs:
        for name in TABS:
            ui.tab(name)
    with ui.tab_panels(tabs, value=tab["value"]).classes("w-full"):
        for name, draw in zip(TABS, (_story, _audit, _attempts, draw_run, _json), strict=True):
            with ui.tab_panel(name):
                draw(view)


def _json(view: RunView) -> None:
    verbatim(json.dumps(plain(view), indent=2))


def _facts(visitor: Visitor, view: RunView, again: Again) -> None:
    run = view.run
    with ui.row().classes("items-center gap-4"):
        badge(run.status)
        by_alias = f" ({view.alias})" if view.alias else ""
        ui.label(f"{run.workflow} v{run.version}{by_alias}")
        ui.label(f"tenant {run.tenant}")
        link_to(f"by {run.actor}", f"/runs?{urlencode({'actor': run.actor})}")
        ui.label(f"accepted {moment(run.created_at)}")
        if view.code is not None:
            ui.label(f"waits for a worker that has {view.code}")
        elif run.wake_at is not None and run.status not in SETTLED:
            ui.label(f"waits until {moment(run.wake_at)}")
        draw_acts(visitor, view, again)
        draw_edit(visitor, run, again)
    if run.cause:
        ui.label(run.cause).classes("text-negative")
    ui.label(run.id).classes("mono")
    if view.attributes:
        with ui.row().classes("items-center gap-4"):
            for name, value in view.attributes.items():
                told = f"{name}={value}"
                link_to(told, f"/runs?{urlencode({'attribute': told})}")
    if run.status is RunStatus.PAUSED and any(each.kind == HELD for each in view.audit):
        link_to("It begins when it is approved", f"/approvals/{run.id}")
    draw_edits(run)
    _relatives(view)
    for each in view.escalations:
        if each.closed_at is None:
            link_to(f"Escalation: {each.reason} · {each.detail}", f"/escalations/{each.id}").props(
                'aria-keyshortcuts="e"'
            )


def _relatives(view: RunView) -> None:
    """The run whose first steps it took over, those that took over its own; parent and children."""
    if view.run.rerun_of is not None:
        what = "Rerun of" if view.run.parent_id is None else "Undoes"
        link_to(f"{what} {view.run.rerun_of[-12:]}", f"/runs/{view.run.rerun_of}")
    if view.run.parent_id is not None:
        link_to(f"{_of_parent(view.run)} {view.run.parent_id[-12:]}", f"/runs/{view.run.parent_id}")
    for child in reversed(view.children[:MOST_RELATIVES]):
        with ui.row().classes("items-center gap-2"):
            link_to(f"{_child(child)} {child.id[-12:]}", f"/runs/{child.id}")
            badge(child.status)
    if len(view.children) > MOST_RELATIVES:
        ui.label("and others")
    for found in view.maps:
        draw_map(view.run.id, found)
    if view.reruns:
        with ui.row().classes("items-center gap-4"):
            for each in view.reruns[:MOST_RELATIVES]:
                with ui.row().classes("items-center gap-2"):
                    link_to(f"Run again as {each.id[-12:]}", f"/runs/{each.id}")
                    badge(each.status)
            if len(view.reruns) > MOST_RELATIVES:
                ui.label("and others")


def _of_parent(run: RunRecord) -> str:
    """What it is to the run that began it."""
    if run.item is not None:
        return f"Undoes item {run.item} for" if run.rerun_of else f"Item {run.item} of"
    if run.branch is None:
        return "Begun by"
    return f"Branch {run.branch} of" if "/" in run.branch else f"Undoes {run.branch} of"


def _child(run: RunRecord) -> str:
    if run.branch is not None:
        return f"Branch {run.branch}" if "/" in run.branch else f"Undo of {run.branch}"
    return f"Undo of {run.workflow}" if run.rerun_of else f"Began {run.workflow}"


def _timeline(view: RunView) -> None:
    links = [each for each in (*view.forward, *view.backward) if each.record.started_at]
    rest = [each for each in view.forward if not each.record.started_at]
    begin = min((_begin(each) for each in links), default=view.run.created_at)
    end = max((_end(each, view.now) for each in links), default=view.now)
    whole = max((end - begin).total_seconds(), 1e-6)
    with table("Step", "Does", "Status", "From begin", "Took", of="Steps in time"):
        for each in links:
            _row(each, begin, whole, view.now)
        for each in rest:
            with row():
                cell(each.step_id)
                cell(each.label)
                with ui.element("td"):
                    badge(each.standing)
                cell("")
                cell("")


def _row(link: ChainLink, begin: datetime, whole: float, now: datetime) -> None:
    start = (_begin(link) - begin).total_seconds()
    took = (_end(link, now) - _begin(link)).total_seconds()
    undo = link.direction is Direction.BACKWARD
    with row():
        again = f" (visit {link.iteration + 1})" if link.iteration else ""
        of = "" if link.version is None else f" (v{link.version})"
        cell(("↩ " if undo else "") + link.step_id + again + of, wraps=False)
        cell(link.label + (f" · {link.record.error}" if link.record.error else ""))
        with ui.element("td"):
            badge(link.standing)
        with ui.element("td").style("width: 40%"):
            colour = COLOURS.get(link.standing, "grey-7")
            left, width = 100 * start / whole, max(0.5, 100 * took / whole)
            ui.element("div").classes(f"bar bg-{colour}").style(
                f"margin-left: {min(left, 99.5):.2f}%; width: {min(width, 100 - left):.2f}%"
            ).props('aria-hidden="true"')
        cell(f"{took:.3f} s", wraps=False)


def _begin(link: ChainLink) -> datetime:
    assert link.record.started_at is not None
    return link.record.started_at


def _end(link: ChainLink, now: datetime) -> datetime:
    return link.record.finished_at or now


def _story(view: RunView) -> None:
    told = story_of(view.run, view.audit)
    with table("When (UTC)", "What happened", "Evidence", "#", of="Story"):
        for each in told.sentences:
            with row():
                cell(f"{moment(each.at)}.{each.at.microsecond // 1000:03d}", wraps=False)
                cell(each.text)
                cell(", ".join(f"{name} {value}" for name, value in each.evidence.items()))
                cell(str(each.seq))
    ui.label(told.outcome).classes("text-weight-bold")


def _audit(view: RunView) -> None:
    with table("#", "When (UTC)", "What", "By", "More", of="Audit"):
        for each in view.audit:
            with row():
                cell(str(each.seq))
                cell(f"{moment(each.at)}.{each.at.microsecond // 1000:03d}", wraps=False)
                cell(each.kind)
                cell(each.actor[-12:] if len(each.actor) == 36 else each.actor)
                more = {k: v for k, v in each.data.items() if k != "events"}
                cell(json.dumps(plain(more))[:300] if more else "")


def _attempts(view: RunView) -> None:
    columns = ("Step", "Try", "Outcome", "Reason", "Status", "Began (UTC)", "Took")
    with table(*columns, of="Attempts"):
        for link in (*view.forward, *view.backward):
            for each in link.attempts:
                with row():
                    cell(link.step_id)
                    cell(f"{each.kind} {each.number}")
                    cell(each.outcome)
                    cell(each.reason[:200])
                    cell(str(each.status_code or ""))
                    cell(moment(each.started_at), wraps=False)
                    cell(f"{(each.finished_at - each.started_at).total_seconds():.3f} s")
