"""How it goes: runs by status, what needs people, APIs, workers and queues."""

from __future__ import annotations

from datetime import timedelta

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import COLOURS, ago, frame, live, to_login
from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable

WATCHED = timedelta(days=1)


def register(desk: Desk) -> None:
    """The page at the root."""

    @ui.page("/")
    async def overview(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Overview", who):
            if who.tenant is not None:
                ui.label(f"This key is bound to tenant {who.tenant}.")
                ui.link("Its runs", "/runs")
                return None
            await _whole(visitor)
        return None


async def _whole(visitor: Visitor) -> None:
    @ui.refreshable
    async def content() -> None:
        await visitor.principal()
        await _runs(visitor)
        with ui.row().classes("w-full gap-4 items-stretch"):
            await _workers(visitor)
            await _queues(visitor)

    await content()
    live(content.refresh)


async def _runs(visitor: Visitor) -> None:
    services = visitor.services
    now = await services.runs.now()
    counts = await services.runs.count_by_status(since=now - WATCHED)
    with ui.row().classes("w-full gap-2"):
        for status in RunStatus:
            number = counts.get(status, 0)
            with (
                ui.link(target=f"/runs?status={status}").classes("no-underline text-inherit"),
                ui.card().classes("q-pa-sm items-center").style("min-width: 6.6rem"),
            ):
                colour = COLOURS[status] if number else "grey-7"
                ui.label(f"{number:,}").classes(f"text-h5 text-{colour}")
                ui.label(status).classes("text-caption").style("color: inherit")
    ended = sum(counts.get(each, 0) for each in (RunStatus.SUCCEEDED, RunStatus.COMPENSATED))
    if ended:
        share = counts.get(RunStatus.SUCCEEDED, 0) / ended
        undone = counts.get(RunStatus.COMPENSATED, 0)
        stuck = counts.get(RunStatus.ESCALATED, 0)
        whole = undone / (undone + stuck) if undone + stuck else 1.0
        ui.label(
            f"Of the runs of the last 24 hours: {share:.1%} of those that ended succeeded, "
            f"{whole:.1%} of those that failed were undone without a person."
        )


async def _workers(visitor: Visitor) -> None:
    found = await visitor.services.workers.workers()
    now = await visitor.services.runs.now()
    rows = [
        {
            "name": each.name, "runs": each.active_runs, "reserved": each.reserved,
            "seen": ago(each.heartbeat_at, now), "version": each.version,
        }
        for each in found
    ]  # fmt: skip
    with ui.card().classes("col"):
        ui.label("Workers").classes("text-h6")
        ui.table(rows=rows, columns=_columns("name", "runs", "reserved", "seen", "version")).props(
            'dense flat no-data-label="No worker is up: runs are accepted and wait"'
        ).classes("w-full")


async def _queues(visitor: Visitor) -> None:
    try:
        found = await visitor.services.queues.overview()
    except Unavailable as error:  # runs are shown all the same
        with ui.card().classes("col"):
            ui.label("Queues").classes("text-h6")
            ui.label(str(error)).classes("text-negative")
        return
    rows = [
        {
            "queue": each.name, "messages": each.messages, "due": each.due, "owned": each.owned,
            "parked": each.parked, "oldest": _seconds(each.oldest_due_seconds),
        }
        for each in found
    ]  # fmt: skip
    with ui.card().classes("col"):
        ui.label("Queues").classes("text-h6")
        columns = _columns("queue", "messages", "due", "owned", "parked", "oldest")
        ui.table(rows=rows, columns=columns).props("dense flat").classes("w-full")


def _columns(*names: str) -> list[dict[str, str]]:
    return [{"name": each, "label": each, "field": each, "align": "left"} for each in names]


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"
