"""The inbox of what needs a person, and one of them with the ways out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import ago, frame, live, moment, tell, to_login, verbatim
from orchestrator.console.runs import cell, head
from orchestrator.core import events
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.ports import EscalationFilter, EscalationRecord, Role
from orchestrator.service.briefing import Briefing
from orchestrator.service.escalations import Act
from orchestrator.telemetry.plain import plain

PAGE = 100
COLUMNS = (
    "Escalation", "Severity", "Due", "Workflow", "Step", "Why", "Tenant", "Opened", "With"
)  # fmt: skip
Again = Callable[[], Awaitable[None]]
CHOICES: Sequence[tuple[str, str, str, events.Event]] = (
    ("Retry", "retried", "Try the stuck call again, with the same key and bytes.",
     events.Retried()),
    ("It is done", "resolved", "You vouch that the call is done; the rest goes on.",
     events.Resolved(landed=True)),
    ("It did nothing", "resolved", "You vouch that the call certainly did nothing.",
     events.Resolved(landed=False)),
    ("Skip", "skipped", "Leave the stuck undo's effect standing; the remaining undos go on.",
     events.Skipped()),
    ("Abandon", "abandoned", "End the run where it is. Final.", events.Abandoned()),
)  # fmt: skip


def register(desk: Desk) -> None:
    """The inbox, and one escalation."""

    @ui.page("/escalations")
    async def escalations(request: Request, after: str = "") -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Escalations", who):
            await _inbox(visitor, after or None)
        return None

    @ui.page("/escalations/{escalation_id}")
    async def escalation(request: Request, escalation_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame(f"Escalation {escalation_id[-12:]}", who):
            await _one(visitor, escalation_id)
        return None


async def _inbox(visitor: Visitor, after: str | None) -> None:
    @ui.refreshable
    async def content() -> None:
        who = await visitor.principal()
        found = await visitor.services.escalations.list(
            EscalationFilter(tenant=who.tenant, after=after, limit=PAGE + 1)
        )
        now, urgency = await visitor.services.runs.now(), visitor.services.escalations.urgency
        if not found:
            ui.label("Nothing needs a person.")
            return
        with ui.element("table").classes("w-full text-left"):
            head(*COLUMNS)
            with ui.element("tbody"):
                for each in found[:PAGE]:
                    with ui.element("tr"):
                        with ui.element("td"):
                            ui.link(each.id[-12:], f"/escalations/{each.id}").classes("mono")
                        cell(str(urgency.severity(each)))
                        due = urgency.due_at(each)
                        cell(f"overdue since {moment(due)}" if due <= now else moment(due))
                        cell(each.workflow)
                        cell(f"{each.step_id or '-'} ({each.direction})")
                        cell(f"{each.reason}: {each.detail[:120]}")
                        cell(each.tenant)
                        cell(ago(each.opened_at, now))
                        cell(each.claimed_by or "nobody")
        if len(found) > PAGE:
            ui.link("Newer", f"/escalations?after={found[PAGE - 1].id}")

    await content()
    live(content.refresh)


async def _one(visitor: Visitor, escalation_id: str) -> None:
    async def read() -> Briefing:
        who = await visitor.principal()
        record = await visitor.services.escalations.show(escalation_id)
        if not who.sees(record.tenant):
            raise NotFound(f"no such escalation: {escalation_id}")
        return await visitor.services.briefings.of(record.id)

    @ui.refreshable
    async def content(told: Briefing) -> None:
        record = told.escalation
        ui.label(f"{record.reason}: {record.detail}").classes("text-h6 text-negative")
        with ui.row().classes("items-center gap-4"):
            ui.label(f"{record.workflow}, step {record.step_id or '-'}, going {record.direction}")
            ui.link("The run", f"/runs/{record.run_id}")
            ui.label(
                f"opened {moment(record.opened_at)}, {told.severity}, due {moment(told.due_at)}"
            )
        if record.closed_at is not None:
            ui.label(
                f"{record.resolution} by {record.closed_by} at {moment(record.closed_at)}: "
                f"{record.closing_reason}"
            )
        else:
            _claiming(visitor, record, again)
            _choices(visitor, record, again)
            _foreseen(told)
        _remarks(visitor, told, again)
        if told.look is not None:
            ui.label("Where to look").classes("text-h6")
            verbatim(told.look)
        ui.label("What is known").classes("text-h6")
        verbatim(json.dumps(plain(record.context), indent=2))

    async def again() -> None:
        await content.refresh(await read())

    try:
        told = await read()
    except OrchestratorError as error:
        ui.label(str(error))
        return
    await content(told)


def _remarks(visitor: Visitor, told: Briefing, again: Again) -> None:
    ui.label("Remarks").classes("text-h6")
    for remark in told.comments:
        ui.label(f"{remark.by}, {moment(remark.at)}: {remark.text}")
    text = ui.input("A remark, for those who come after you").classes("w-full max-w-3xl")

    async def add() -> None:
        try:
            who = await visitor.principal(Role.OPERATOR)
            desk = visitor.services.escalations
            await desk.comment(told.escalation.id, text.value, by=who.name)
        except OrchestratorError as error:
            tell(error)
        await again()

    ui.button("Add", on_click=add).props("outline")


def _foreseen(told: Briefing) -> None:
    ui.label("What follows, if each call goes well").classes("text-h6")
    with ui.element("table").classes("w-full text-left"):
        head("Choice", "Calls", "The run ends", "Stands then")
        with ui.element("tbody"):
            for choice in told.choices:
                if choice.refused is not None:
                    continue
                with ui.element("tr"):
                    cell(choice.name)
                    cell(" → ".join(link.label for link in choice.links) or "none")
                    cell(str(choice.status))
                    cell(", ".join(choice.standing) or "nothing")
    if told.similar:
        ui.label(f"{told.similar:,} more like it are open.")


def _claiming(visitor: Visitor, record: EscalationRecord, again: Again) -> None:
    desk = visitor.services.escalations

    async def attempt(act: Callable[[str], Awaitable[object]]) -> None:
        try:
            who = await visitor.principal(Role.OPERATOR)
            await act(who.name)
        except OrchestratorError as error:
            tell(error)
        await again()

    async def claim() -> None:
        await attempt(lambda who: desk.claim(record.id, by=who))

    async def release() -> None:
        await attempt(lambda who: desk.release(record.id, by=who))

    with ui.row().classes("items-center gap-4"):
        if record.claimed_by is None:
            ui.button("Take it", on_click=claim)
        else:
            ui.label(f"with {record.claimed_by} since {moment(record.claimed_at)}")
            ui.button("Give it back", on_click=release).props("outline")


def _choices(visitor: Visitor, record: EscalationRecord, again: Again) -> None:
    reason = ui.input("Why, and the evidence (kept in the audit)").classes("w-full max-w-3xl")

    async def decide(resolution: str, event: events.Event) -> None:
        try:
            who = await visitor.principal(Role.OPERATOR)
            act = Act(
                resolution=resolution, event=event, by=who.name, reason=reason.value, seen=record
            )
            status = await visitor.services.escalations.act(record.id, act)
            ui.notify(f"The run is {status} now.", type="positive")
        except OrchestratorError as error:
            tell(error)
        await again()

    with ui.row().classes("gap-2"):
        for name, resolution, means, event in CHOICES:
            button = ui.button(name, on_click=partial(decide, resolution, event)).props("outline")
            button.bind_enabled_from(reason, "value", backward=lambda text: bool(text.strip()))
            with button:
                ui.tooltip(means)
