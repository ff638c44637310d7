"""Jobs: acts on many things at once, and how far each of them has come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, keyed, moment, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.errors import NotFound
from orchestrator.ports import JobItemRecord, JobItemState, JobOrder, JobRecord, JobState
from orchestrator.service.principal import Principal
from orchestrator.telemetry.plain import plain

PAGE = 50
MOST_REFUSED = 200
OFTEN_SECONDS = 1.0
COLOURS = {
    JobState.RUNNING: "primary", JobState.PAUSED: "blue-grey-7", JobState.DONE: "positive",
    JobState.CANCELLED: "grey-9",
}  # fmt: skip
ORDERS = (
    (JobOrder.PAUSE, "Pause", "p", (JobState.RUNNING,),
     "Once this is answered nothing more is acted on."),
    (JobOrder.RESUME, "Resume", "r", (JobState.PAUSED,), "It goes on with what is left."),
    (JobOrder.CANCEL, "Cancel", "x", (JobState.RUNNING, JobState.PAUSED),
     "What it has done stays done; the rest is left as it was."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A job, and what it could not act on."""

    job: JobRecord
    refused: Sequence[JobItemRecord]


def register(desk: Desk) -> None:
    """The list, and one job."""

    @page("/jobs")
    async def jobs(request: Request, before: str = "") -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Jobs", await visitor.principal()):
            await shown(visitor, partial(_listed, visitor, before or None), _list)
        return None

    @page("/jobs/{job_id}")
    async def job(request: Request, job_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Job {job_id[-12:]}", await visitor.principal()):
            await _one(visitor, job_id)
        return None


async def _listed(visitor: Visitor, before: str | None) -> list[JobRecord]:
    who = await visitor.principal()
    return await visitor.services.jobs.list(tenant=who.tenant, before=before, limit=PAGE + 1)


def _list(found: list[JobRecord]) -> None:
    if not found:
        ui.label("Nothing was done to many at once yet.")
        return
    with table("Job", "Does", "With", "How far", "State", "By", "Since (UTC)", "Why", of="Jobs"):
        for each in found[:PAGE]:
            with row():
                link_cell(each.id[-12:], f"/jobs/{each.id}")
                cell(each.kind)
                cell(_where(each))
                cell(_how_far(each), wraps=False)
                with ui.element("td"):
                    ui.badge(each.state, color=COLOURS[each.state]).props("text-color=white")
                cell(each.by)
                cell(moment(each.created_at), wraps=False)
                cell(each.reason[:120])
    if len(found) > PAGE:
        link_to("Older", f"/jobs?before={found[PAGE - 1].id}")


async def _one(visitor: Visitor, job_id: str) -> None:
    async def read() -> Report:
        who = await visitor.principal()
        found = await visitor.services.jobs.show(job_id)
        if who.tenant not in (None, found.tenant):
            raise NotFound(f"no such job: {job_id}")
        refused: Sequence[JobItemRecord] = ()
        if found.refused:
            refused = await visitor.services.jobs.items(
                found.id, state=JobItemState.REFUSED, limit=MOST_REFUSED
            )
        return Report(job=found, refused=refused)

    again: Again

    async def look() -> None:
        await again()

    again = await shown(visitor, read, partial(_show, visitor, look), every=OFTEN_SECONDS)


def _show(visitor: Visitor, again: Again, report: Report) -> None:
    job = report.job
    with ui.row().classes("items-center gap-4"):
        ui.badge(job.state, color=COLOURS[job.state]).props("text-color=white")
        ui.label(f"{job.kind}, {_where(job)}")
        ui.label(f"by {job.by} at {moment(job.created_at)}: {job.reason}")
    share = (job.done + job.refused) / job.total
    ui.linear_progress(value=share, show_value=False, size="14px").props(
        'rounded aria-label="How far it is"'
    )
    ui.label(_how_far(job)).props('role="status"')
    with ui.row().classes("gap-2"):
        for order, verb, key, states, means in ORDERS:
            if job.state in states:
                does = partial(_order, visitor, job, order)
                question = Question(title=f"{verb} this job", verb=verb, does=does, means=means,
                                    grave=order is JobOrder.CANCEL)  # fmt: skip
                button = ui.button(verb + "…", on_click=partial(ask, visitor, question, again))
                keyed(button.props("outline"), key)
    for each in job.orders:
        ui.label(f"{each['at']} {each['order']} by {each['by']}: {each['reason']}")
    if report.refused:
        heading("Could not be acted on")
        things = job.kind.partition(".")[0]
        with table("Which", "Why not", of="Refused"):
            for item in report.refused:
                with row():
                    link_cell(item.item[-12:], f"/{things}/{item.item}")
                    cell(item.outcome)
        if job.refused > len(report.refused):
            ui.label(f"and {job.refused - len(report.refused):,} more")


async def _order(
    visitor: Visitor, job: JobRecord, order: JobOrder, who: Principal, reason: str
) -> str:
    changed = await visitor.services.jobs.order(job.id, order, by=who.name, reason=reason)
    return f"The job is {changed.state}."


def _how_far(job: JobRecord) -> str:
    refused = f", {job.refused:,} could not be" if job.refused else ""
    return f"{job.done:,} of {job.total:,} done{refused}"


def _where(job: JobRecord) -> str:
    """Its filter in words."""
    left = {name: value for name, value in plain(job.where).items() if value is not None}
    told = [
        f"{len(value)} chosen" if name == "ids" else f"{name} {json.dumps(value)}"
        for name, value in left.items()
    ]
    return ", ".join(told) or "all"
