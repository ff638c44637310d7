"""What runs ask people, and one of them with its two answers."""

from __future__ import annotations

import json

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import ago, frame, moment, shown, tell, to_login, verbatim
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.ports import Asks, Decision, Role, WaitRecord
from orchestrator.telemetry.plain import plain

PAGE = 100
COLUMNS = ("Approval", "Question", "Workflow", "Step", "Tenant", "Asked", "Until", "State")


def register(desk: Desk) -> None:
    """The list, and one approval."""

    @page("/approvals")
    async def approvals(request: Request, after: str = "") -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Approvals", await visitor.principal()):
            await _list(visitor, after or None)
        return None

    @page("/approvals/{approval_id}")
    async def approval(request: Request, approval_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Approval {approval_id[-12:]}", await visitor.principal()):
            await _one(visitor, approval_id)
        return None


async def _list(visitor: Visitor, after: str | None) -> None:
    async def read() -> list[tuple[str, ...]]:
        who = await visitor.principal()
        found = await visitor.services.waiting.approvals(
            tenant=who.tenant, after=after, limit=PAGE + 1
        )
        now = await visitor.services.runs.now()
        return [
            (
                each.id, _message(each)[:120], each.workflow, each.step_id, each.tenant,
                ago(each.opened_at, now), moment(each.expires_at), _state(each),
            )
            for each in found
        ]  # fmt: skip

    def show(rows: list[tuple[str, ...]]) -> None:
        if not rows:
            ui.label("Nobody is asked anything.")
            return
        with table(*COLUMNS, of="Approvals"):
            for known, *rest in rows[:PAGE]:
                with row():
                    link_cell(known[-12:], f"/approvals/{known}")
                    for text in rest:
                        cell(text)
        if len(rows) > PAGE:
            link_to("More", f"/approvals?after={rows[PAGE - 1][0]}")

    await shown(visitor, read, show)


async def _one(visitor: Visitor, approval_id: str) -> None:
    @ui.refreshable
    async def content() -> None:
        record = await _visible(visitor, approval_id)
        if record is None:
            ui.label("No such approval.")
            return
        ui.label(_message(record)).classes("text-h6").style("white-space: pre-wrap")
        shown = record.asked.get("show")
        if shown:
            verbatim(json.dumps(plain(shown), indent=2, ensure_ascii=False))
        link_to(f"Run {record.run_id[-12:]}", f"/runs/{record.run_id}").classes("mono")
        asked = f"{record.workflow}, step {record.step_id}, asked {moment(record.opened_at)} UTC"
        ui.label(asked + (f", until {moment(record.expires_at)} UTC" if record.expires_at else ""))
        if record.is_open:
            _answers(visitor, record)
        else:
            ui.label(f"{_state(record)}, {moment(record.closed_at)} UTC").classes("text-bold")
            verbatim(json.dumps(plain(record.answer), indent=2, ensure_ascii=False))

    def _answers(visitor: Visitor, record: WaitRecord) -> None:
        reason = ui.input("Why (wanted where you reject)").classes("w-full")

        async def decide(decision: Decision) -> None:
            try:
                who = await visitor.principal(Role.OPERATOR)
                await visitor.services.waiting.decide(
                    record.id, decision, by=who.name, via="console",
                    reason=str(reason.value or ""), role=who.role,
                )  # fmt: skip
            except OrchestratorError as error:
                tell(error)
            visitor.acted()
            content.refresh()

        with ui.row():
            ui.button("Approve", on_click=lambda: decide(Decision.APPROVED))
            ui.button("Reject", on_click=lambda: decide(Decision.REJECTED), color="negative")

    await content()


async def _visible(visitor: Visitor, approval_id: str) -> WaitRecord | None:
    who = await visitor.principal()
    try:
        record = await visitor.services.waiting.approval(approval_id)
    except NotFound:
        return None
    return record if who.sees(record.tenant) and record.asks is Asks.APPROVAL else None


def _message(record: WaitRecord) -> str:
    return str(record.asked.get("message", ""))


def _state(record: WaitRecord) -> str:
    if record.outcome is None:
        return "open"
    return f"{record.outcome} by {record.closed_by}" if record.closed_by else record.outcome
