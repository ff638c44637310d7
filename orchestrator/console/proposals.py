"""Proposals: what one person wants done and a second one has to confirm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, moment, shown, to_login
from orchestrator.console.links import page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.errors import NotFound
from orchestrator.ports import Proposal, ProposalFilter
from orchestrator.service.principal import Principal
from orchestrator.telemetry.plain import plain

MOST = 200
COLUMNS = ("Run", "Workflow", "Proposed", "By", "Why", "Until (UTC)", "Tenant", "")


def register(desk: Desk) -> None:
    """Those that are open."""

    @page("/proposals")
    async def proposals(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Proposals", await visitor.principal()):
            if not await draw_proposals(visitor, ProposalFilter(limit=MOST)):
                ui.label("Decisions that need a second person (x-four-eyes) wait here for one.")
        return None


async def draw_proposals(visitor: Visitor, which: ProposalFilter) -> bool:
    """The open ones that fit, with what the second person can do. Whether there are any now."""
    again: Again
    first: list[bool] = []

    async def look() -> None:
        await again()

    async def read() -> Sequence[Proposal]:
        who = await visitor.principal()
        found = await visitor.services.proposals.list(which)
        seen = [each for each in found if who.sees(each.tenant)]
        first.append(bool(seen))
        return seen

    again = await shown(visitor, read, partial(_show, visitor, look))
    return first[0] if first else False


def _show(visitor: Visitor, again: Again, found: Sequence[Proposal]) -> None:
    if not found:
        return
    with table(*COLUMNS, of="Proposals"):
        for each in found:
            with row():
                link_cell(each.run_id[-12:], f"/runs/{each.run_id}")
                cell(each.workflow, wraps=False)
                told = json.dumps(plain(each.arguments)) if each.arguments else ""
                cell(f"{each.subject} {each.act} {told}"[:300])
                cell(each.proposed_by)
                cell(each.reason)
                cell(moment(each.expires_at), wraps=False)
                cell(each.tenant)
                with ui.element("td"), ui.row().classes("gap-2 no-wrap"):
                    for question in (_confirmation(visitor, each), _refusal(visitor, each)):
                        button = ui.button(
                            question.verb + "…", on_click=partial(ask, visitor, question, again)
                        ).props("outline dense no-wrap")
                        button.classes("q-px-sm")


def _confirmation(visitor: Visitor, proposal: Proposal) -> Question:
    async def confirm(who: Principal, reason: str) -> str:
        found = await _visible(visitor, proposal.id, who)
        done = await visitor.services.proposals.confirm(
            found.id, by=who.name, via="console", reason=reason, role=who.role
        )
        return f"Done. The run is {done.run_status} now."

    return Question(
        title=f"Confirm: {proposal.subject} {proposal.act}", verb="Confirm", does=confirm,
        means=f"{proposal.proposed_by} has proposed it: {proposal.reason}. Confirming does it.",
    )  # fmt: skip


def _refusal(visitor: Visitor, proposal: Proposal) -> Question:
    async def refuse(who: Principal, reason: str) -> str:
        found = await _visible(visitor, proposal.id, who)
        await visitor.services.proposals.refuse(found.id, by=who.name, reason=reason, role=who.role)
        return "It is refused; nothing was done."

    return Question(
        title=f"Refuse: {proposal.subject} {proposal.act}", verb="Refuse", does=refuse, grave=True,
        means="Nothing is done, and another one may be made.",
    )  # fmt: skip


async def _visible(visitor: Visitor, proposal_id: str, who: Principal) -> Proposal:
    """Raises NotFound for who does not see its tenant."""
    found = await visitor.services.proposals.show(proposal_id)
    if not who.sees(found.tenant):
        raise NotFound(f"no such proposal: {proposal_id}")
    return found
