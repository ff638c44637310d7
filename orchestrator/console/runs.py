"""Runs: a list with filters in its address, and one run with all that happened to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import (
    COLOURS,
    badge,
    frame,
    live,
    moment,
    tell,
    to_login,
    verbatim,
)
from orchestrator.console.graph import draw_run
from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED, Direction, RunStatus
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.ports import Role, RunFilter, RunRecord
from orchestrator.service.runs import ChainLink, RunView
from orchestrator.telemetry.plain import plain

PAGE = 50


def register(desk: Desk) -> None:
    """The list, and one run."""

    @ui.page("/runs")
    async def runs(
        request: Request, status: str = "", workflow: str = "", tenant: str = "", before: str = ""
    ) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        known = [RunStatus(each) for each in status.split(",") if each in set(RunStatus)]
        wanted = RunFilter(
            status=frozenset(known) or None, workflow=workflow or None,
            tenant=who.tenant or tenant or None, before=before or None, limit=PAGE + 1,
        )  # fmt: skip
        with frame("Runs", who):
            _filters(known, workflow, tenant, bound=who.tenant is not None)
            await _list(visitor, wanted, {"status": status, "workflow": workflow, "tenant": tenant})
        return None

    @ui.page("/runs/{run_id}")
    async def run(request: Request, run_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame(f"Run {run_id[-12:]}", who):
            await _one(visitor, run_id)
        return None


def _filters(known: Sequence[RunStatus], workflow: str, tenant: str, *, bound: bool) -> None:
    with ui.row().classes("items-end gap-4"):
        chosen = ui.select(
            [str(each) for each in RunStatus], value=[str(each) for each in known], multiple=True,
            label="Status",
        ).classes("min-w-48").props("dense use-chips")  # fmt: skip
        named = ui.input("Workflow", value=workflow).props("dense clearable")
        of = ui.input("Tenant", value=tenant).props("dense clearable")
        of.set_visibility(not bound)
        looked_up = ui.input("Id of a run, or its end").props("dense")

        def go() -> None:
            if looked_up.value:
                ui.navigate.to(f"/runs/{looked_up.value.strip()}")
                return
            fields = {"status": ",".join(chosen.value), "workflow": named.value, "tenant": of.value}
            ui.navigate.to(_address(**{name: value or "" for name, value in fields.items()}))

        for field in (named, of, looked_up):
            field.on("keydown.enter", go)
        ui.button("Show", on_click=go)


def _address(**fields: str) -> str:
    return f"/runs?{urlencode({name: value for name, value in fields.items() if value})}"


async def _list(visitor: Visitor, wanted: RunFilter, fields: dict[str, str]) -> None:
    @ui.refreshable
    async def content() -> None:
        await visitor.principal()
        found = await visitor.services.runs.list(wanted)
        _table(found[:PAGE])
        with ui.row():
            if wanted.before is not None:
                ui.link("Newest", _address(**fields))
            if len(found) > PAGE:
                ui.link("Older", _address(**fields, before=found[PAGE - 1].id))

    await content()
    live(content.refresh)


def _table(runs: Sequence[RunRecord]) -> None:
    if not runs:
        ui.label("No run is like this.")
        return
    with (
        ui.element("div").classes("w-full overflow-auto"),
        ui.element("table").classes("w-full text-left"),
    ):
        head("Run", "Workflow", "Status", "Tenant", "Actor", "Accepted (UTC)", "Cause")
        with ui.element("tbody"):
            for each in runs:
                with ui.element("tr"):
                    with ui.element("td"):
                        ui.link(each.id[-12:], f"/runs/{each.id}").classes("mono")
                    cell(f"{each.workflow} v{each.version}")
                    with ui.element("td"):
                        badge(each.status)
                    cell(each.tenant)
                    cell(each.actor)
                    cell(moment(each.created_at))
                    cell(each.cause[:120])


def head(*names: str) -> None:
    """Of a table."""
    with ui.element("thead"), ui.element("tr"):
        for name in names:
            with ui.element("th").props('scope="col"').classes("q-pr-md"):
                ui.label(name)


def cell(text: str, *, wraps: bool = True) -> None:
    """One of a table's row."""
    with ui.element("td").classes("q-pr-md" if wraps else "q-pr-md text-no-wrap"):
        ui.label(text)


# --- one run --------------------------------------------------------------------------------------


async def _one(visitor: Visitor, run_id: str) -> None:
    seen: tuple[object, ...] = ()

    async def view_of() -> RunView:
        who = await visitor.principal()
        view = await visitor.services.runs.show(run_id)
        if not who.sees(view.run.tenant):
            raise NotFound(f"no such run: {run_id}")
        return view

    @ui.refreshable
    async def content(view: RunView) -> None:
        _facts(visitor, view)
        _timeline(view)
        with ui.tabs().classes("w-full") as tabs:
            names = [ui.tab(name) for name in ("Audit", "Attempts", "Graph", "JSON")]
        with ui.tab_panels(tabs, value=names[0]).classes("w-full"):
            with ui.tab_panel(names[0]):
                _audit(view)
            with ui.tab_panel(names[1]):
                _attempts(view)
            with ui.tab_panel(names[2]):
                draw_run(view)
            with ui.tab_panel(names[3]):
                verbatim(json.dumps(plain(view), indent=2))

    try:
        view = await view_of()
    except OrchestratorError as error:
        ui.label(str(error))
        return
    await content(view)

    async def look() -> None:
        nonlocal seen
        found = await view_of()
        now = (found.run.status, found.run.audit_seq)
        if seen and now != seen:
            await content.refresh(found)
        seen = now

    seen = (view.run.status, view.run.audit_seq)
    if view.run.status not in SETTLED or view.run.status is RunStatus.ESCALATED:
        live(look)


def _facts(visitor: Visitor, view: RunView) -> None:
    run = view.run
    with ui.row().classes("items-center gap-4"):
        badge(run.status)
        ui.label(f"{run.workflow} v{run.version}")
        ui.label(f"tenant {run.tenant}")
        ui.label(f"by {run.actor}")
        ui.label(f"accepted {moment(run.created_at)}")
        if run.wake_at is not None and run.status not in SETTLED:
            ui.label(f"waits until {moment(run.wake_at)}")
        _actions(visitor, view)
    if run.cause:
        ui.label(run.cause).classes("text-negative")
    ui.label(run.id).classes("mono")
    for each in view.escalations:
        if each.closed_at is None:
            ui.link(f"Escalation: {each.reason} · {each.detail}", f"/escalations/{each.id}")


def _actions(visitor: Visitor, view: RunView) -> None:
    if view.run.status in SETTLED or view.run.cancel is not None:
        return
    with ui.dialog() as dialog, ui.card():
        ui.label("Cancel this run").classes("text-h6")
        reason = ui.input("Why (kept in the audit)").classes("w-80")
        stop = ui.checkbox("Leave what is done as it is")

        async def cancel() -> None:
            try:
                who = await visitor.principal(Role.OPERATOR)
                mode = CancelMode.STOP if stop.value else CancelMode.UNDO
                await visitor.services.runs.cancel(
                    view.run.id, mode=mode, reason=reason.value.strip(), by=who.name
                )
            except OrchestratorError as error:
                tell(error)
                return
            dialog.close()
            ui.notify("It has been asked to end.")

        with ui.row():
            button = ui.button("Cancel the run", on_click=cancel, color="negative")
            button.bind_enabled_from(reason, "value", backward=lambda text: bool(text.strip()))
            ui.button("Back", on_click=dialog.close).props("flat")
    ui.button("Cancel…", on_click=dialog.open).props("outline color=negative")


def _timeline(view: RunView) -> None:
    links = [each for each in (*view.forward, *view.backward) if each.record.started_at]
    rest = [each for each in view.forward if not each.record.started_at]
    begin = min((_begin(each) for each in links), default=view.run.created_at)
    end = max((_end(each, view.now) for each in links), default=view.now)
    whole = max((end - begin).total_seconds(), 1e-6)
    with ui.element("table").classes("w-full text-left"):
        head("Step", "Does", "Status", "From begin", "Took")
        with ui.element("tbody"):
            for each in links:
                _row(each, begin, whole, view.now)
            for each in rest:
                with ui.element("tr"):
                    cell(each.step_id)
                    cell(each.label)
                    with ui.element("td"):
                        badge(each.record.link.status)
                    cell("")
                    cell("")


def _row(link: ChainLink, begin: datetime, whole: float, now: datetime) -> None:
    start = (_begin(link) - begin).total_seconds()
    took = (_end(link, now) - _begin(link)).total_seconds()
    undo = link.direction is Direction.BACKWARD
    with ui.element("tr"):
        again = f" (visit {link.iteration + 1})" if link.iteration else ""
        cell(("↩ " if undo else "") + link.step_id + again, wraps=False)
        cell(link.label + (f" · {link.record.error}" if link.record.error else ""))
        with ui.element("td"):
            badge(link.record.link.status)
        with ui.element("td").style("width: 40%"):
            colour = COLOURS.get(link.record.link.status, "grey-7")
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


def _audit(view: RunView) -> None:
    with ui.element("table").classes("w-full text-left"):
        head("#", "When (UTC)", "What", "By", "More")
        with ui.element("tbody"):
            for each in view.audit:
                with ui.element("tr"):
                    cell(str(each.seq))
                    cell(f"{moment(each.at)}.{each.at.microsecond // 1000:03d}")
                    cell(each.kind)
                    cell(each.actor[-12:] if len(each.actor) == 36 else each.actor)
                    more = {k: v for k, v in each.data.items() if k != "events"}
                    cell(json.dumps(plain(more))[:300] if more else "")


def _attempts(view: RunView) -> None:
    with ui.element("table").classes("w-full text-left"):
        head("Step", "Try", "Outcome", "Reason", "Status", "Began (UTC)", "Took")
        with ui.element("tbody"):
            for link in (*view.forward, *view.backward):
                for each in link.attempts:
                    with ui.element("tr"):
                        cell(link.step_id)
                        cell(f"{each.kind} {each.number}")
                        cell(each.outcome)
                        cell(each.reason[:200])
                        cell(str(each.status_code or ""))
                        cell(moment(each.started_at))
                        cell(f"{(each.finished_at - each.started_at).total_seconds():.3f} s")
