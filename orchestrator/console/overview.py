"""How it goes: runs by status and by the second, APIs, workers and queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import COLOURS, ago, frame, heading, shown, to_login
from orchestrator.console.gate import States, draw_states, states
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, row, table
from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import Flow

WATCHED = timedelta(days=1)
LATELY_SECONDS = 60


def register(desk: Desk) -> None:
    """The page at the root."""

    @page("/")
    async def overview(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Overview", who):
            if who.tenant is not None:
                ui.label(f"This key is bound to tenant {who.tenant}.")
                link_to("Its runs", "/runs")
                return None
            await _whole(visitor)
            if desk.flower_url:
                with ui.element("a").props(f'href="{desk.flower_url}" target="_blank"'):
                    ui.label("Queues and tasks over time, in Flower")
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """All that the page shows."""

    counts: Mapping[RunStatus, int]
    flow: Flow
    apis: States
    workers: list[dict[str, object]]
    queues: list[dict[str, object]] | str  # or why they cannot be seen


async def _whole(visitor: Visitor) -> None:
    async def read() -> Whole:
        await visitor.principal()
        now = await visitor.services.runs.now()
        return Whole(
            counts=await visitor.services.runs.count_by_status(since=now - WATCHED),
            flow=await visitor.services.runs.flow(seconds=LATELY_SECONDS),
            apis=await states(visitor),
            workers=await _workers(visitor, now), queues=await _queues(visitor),
        )  # fmt: skip

    def show(found: Whole) -> None:
        _runs(found.counts)
        _flow(found.flow)
        with ui.card().classes("w-full"):
            heading("APIs")
            draw_states(found.apis)
        with ui.row().classes("w-full gap-4 items-stretch"):
            _card("Workers", found.workers, "No worker is up: runs are accepted and wait")
            _card("Queues", found.queues, "No queue is known")

    await shown(visitor, read, show)


def _runs(counts: Mapping[RunStatus, int]) -> None:
    with ui.row().classes("w-full gap-2"):
        for status in RunStatus:
            number = counts.get(status, 0)
            with (
                link_to(target=f"/runs?status={status}").classes("no-underline text-inherit"),
                ui.card().classes("q-pa-sm items-center").style("min-width: 6.6rem"),
            ):
                colour = COLOURS[status] if number else "grey-7"
                ui.label(f"{number:,}").classes(f"count text-h5 text-{colour}")
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


def _flow(flow: Flow) -> None:
    accepted, settled = (each / LATELY_SECONDS for each in (flow.accepted, flow.settled))
    ui.label(
        f"In the last minute {accepted:.1f} runs a second were accepted, "
        f"{settled:.1f} a second ended or were escalated."
    )


def _card(title: str, rows: list[dict[str, object]] | str, empty: str) -> None:
    with ui.card().classes("col").style("min-width: min(100%, 24rem)"):
        heading(title)
        if isinstance(rows, str):
            ui.label(rows).classes("text-negative")
        elif not rows:
            ui.label(empty)
        else:
            with table(*rows[0], of=title):
                for each in rows:
                    with row():
                        for value in each.values():
                            cell(str(value))


async def _workers(visitor: Visitor, now: datetime) -> list[dict[str, object]]:
    return [
        {
            "name": each.name, "runs": each.active_runs, "reserved": each.reserved,
            "seen": ago(each.heartbeat_at, now, to_the_second=True), "version": each.version,
        }
        for each in await visitor.services.workers.workers()
    ]  # fmt: skip


async def _queues(visitor: Visitor) -> list[dict[str, object]] | str:
    try:
        found = await visitor.services.queues.overview()
    except Unavailable as error:  # runs are shown all the same
        return str(error)
    return [
        {
            "queue": each.name, "messages": each.messages, "due": each.due, "owned": each.owned,
            "parked": each.parked, "oldest": _seconds(each.oldest_due_seconds),
        }
        for each in found
    ]  # fmt: skip


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"
