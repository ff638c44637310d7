"""One escalation: what is known, what each choice leads to, and the choices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask, attempt, object_of
from orchestrator.console.corrections import Corrections
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, keyed, moment, shown, to_login, verbatim
from orchestrator.console.links import link_to, page
from orchestrator.console.proposals import draw_proposals
from orchestrator.console.tables import cell, row, table
from orchestrator.core import events
from orchestrator.core.states import Direction
from orchestrator.errors import NotFound
from orchestrator.ports import EscalationRecord, ProposalFilter
from orchestrator.service.briefing import Briefing, Choice
from orchestrator.service.escalations import Act
from orchestrator.service.principal import Principal
from orchestrator.telemetry.plain import plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way out, as people see it."""

    choice: str  # its name in the briefing
    resolution: str
    event: events.Event
    key: str
    verb: str
    means: str
    grave: bool = False

    def named(self, record: EscalationRecord) -> str:
        """On its button: a retry is called after what is tried again."""
        if self.choice != "retry":
            return self.verb
        if record.step_id is None:
            return "Let it go on"
        going = record.direction is Direction.FORWARD
        return f"Restart {record.step_id}" if going else f"Retry the undo of {record.step_id}"


WAYS: Sequence[Way] = (
    Way(choice="retry", resolution="retried", event=events.Retried(), key="r", verb="Retry",
        means="The stuck call again, with the same key and bytes."),
    Way(choice="resolve", resolution="resolved", event=events.Resolved(landed=True), key="d",
        verb="It is done",
        means="You vouch that the call is done: by hand, or you have seen it. The rest goes on."),
    Way(choice="resolve without effect", resolution="resolved", key="n", verb="It did nothing",
        event=events.Resolved(landed=False),
        means="You vouch that the call certainly did nothing."),
    Way(choice="skip", resolution="skipped", event=events.Skipped(), key="s", verb="Skip",
        means="The stuck undo's effect is left standing; the remaining undos go on."),
    Way(choice="abandon", resolution="abandoned", event=events.Abandoned(), key="x",
        verb="Abandon", means="The run ends where it is. Final.", grave=True),
)  # fmt: skip


def register(desk: Desk) -> None:
    """The page of one."""

    @page("/escalations/{escalation_id}")
    async def escalation(request: Request, escalation_id: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Escalation {escalation_id[-12:]}", await visitor.principal()):
            await _Page(visitor, escalation_id).draw()
        return None


class _Page:
    """One escalation as somebody sees it."""

    def __init__(self, visitor: Visitor, escalation_id: str) -> None:
        self._visitor, self._id = visitor, escalation_id
        self._again: Again

    async def draw(self) -> None:
        await draw_proposals(self._visitor, ProposalFilter(subject_id=self._id))
        self._again = await shown(self._visitor, self._read, self._show)

    async def _read(self) -> Briefing:
        who = await self._visitor.principal()
        record = await self._visitor.services.escalations.show(self._id)
        if not who.sees(record.tenant):
            raise NotFound(f"no such escalation: {self._id}")
        return await self._visitor.services.briefings.of(record.id)

    def _show(self, told: Briefing) -> None:
        record = told.escalation
        ui.label(f"{record.reason}: {record.detail}").classes("text-h6 text-negative")
        with ui.row().classes("items-center gap-4"):
            ui.label(f"{record.workflow}, step {record.step_id or '-'}, going {record.direction}")
            link_to("The run", f"/runs/{record.run_id}").props('aria-keyshortcuts="o"')
            ui.label(
                f"opened {moment(record.opened_at)}, {told.severity}, due {moment(told.due_at)}"
            )
            if told.similar:
                link_to(f"{told.similar:,} more like it", _alike(record))
        if record.closed_at is None:
            self._claiming(record)
            self._choices(told)
        else:
            ui.label(
                f"{record.resolution} by {record.closed_by} at {moment(record.closed_at)}: "
                f"{record.closing_reason}"
            ).classes("text-bold")
        self._remarks(told)
        if told.look is not None:
            _where_to_look(told.look)
        _known(record)

    def _claiming(self, record: EscalationRecord) -> None:
        desk = self._visitor.services.escalations

        async def claim() -> None:
            await attempt(self._visitor, lambda who: desk.claim(record.id, by=who.name))
            await self._again()

        async def release() -> None:
            await attempt(self._visitor, lambda who: desk.release(record.id, by=who.name))
            await self._again()

        with ui.row().classes("items-center gap-4"):
            if record.claimed_by is None:
                keyed(ui.button("Take it", on_click=claim), "c")
            else:
                until = f", until {moment(record.claimed_until)}" if record.claimed_until else ""
                ui.label(f"with {record.claimed_by} since {moment(record.claimed_at)}{until}")
                keyed(ui.button("Give it back", on_click=release).props("outline"), "c")
            keyed(ui.button("Give it to…", on_click=lambda: self._assign(record)), "g").props(
                "outline"
            )

    def _assign(self, record: EscalationRecord) -> None:
        desk = self._visitor.services.escalations

        async def give(who: Principal, to: str) -> str:
            given = await desk.assign(record.id, to=to, by=who.name)
            return f"It is with {given.claimed_by} now."

        ask(self._visitor, Question(
            title="Give it to somebody", verb="Give it", does=give, label="To whom",
            means="Whoever has it now. Their name as it stands in their key or token.",
        ), self._again)  # fmt: skip

    def _choices(self, told: Briefing) -> None:
        heading("What can be done")
        by_name = {each.name: each for each in told.choices}
        with table("Choice", "Calls that follow", "The run ends", "Stands then", of="Choices"):
            for way in WAYS:
                choice = by_name.get(way.choice)
                if choice is not None:
                    with row():
                        self._choice(told.escalation, way, choice)
        ui.label("If each call goes well.").classes("text-caption")

    def _choice(self, record: EscalationRecord, way: Way, choice: Choice) -> None:
        with ui.element("td"):
            button = keyed(
                ui.button(
                    way.named(record) + "…", on_click=partial(self._decide, record, way, choice)
                ),
                way.key,
            ).props("outline no-wrap")
            if way.grave:
                button.props("color=negative")
            if choice.refused is not None:
                button.disable()
        if choice.refused is not None:
            for text in ("does not apply as it stands", "", ""):
                cell(text)
            return
        cell(_calls(choice))
        cell(str(choice.status))
        cell(", ".join(choice.standing) or "nothing")

    def _decide(self, record: EscalationRecord, way: Way, choice: Choice) -> None:
        more = _More(record, way, choice)

        async def act(who: Principal, reason: str) -> str:
            settled = await self._visitor.services.escalations.decide(record.id, Act(
                resolution=way.resolution, event=way.event, by=who.name, reason=reason,
                seen=record, outputs=more.outputs(), corrections=more.corrections(), via="console",
            ))  # fmt: skip
            if settled.proposal is not None:
                return "It is proposed: a second person has to confirm it."
            return f"The run is {settled.status} now."

        ask(self._visitor, Question(
            title=way.named(record), verb=way.named(record), does=act, means=way.means,
            more=more.draw, grave=way.grave, label="Why, and the evidence (kept in the audit)",
        ), self._again)  # fmt: skip

    def _remarks(self, told: Briefing) -> None:
        desk, record = self._visitor.services.escalations, told.escalation

        async def remark(who: Principal, text: str) -> str:
            await desk.comment(record.id, text, by=who.name)
            return "It stands in the audit."

        heading("Remarks")
        for each in told.comments:
            ui.label(f"{each.by}, {moment(each.at)}: {each.text}")
        question = Question(
            title="Remark", verb="Add it", does=remark, label="For those who come after you"
        )
        with ui.row():
            button = ui.button(
                "Remark…", on_click=lambda: ask(self._visitor, question, self._again)
            )
            keyed(button.props("outline"), "m")


class _More:
    """What else can be said with a choice."""

    def __init__(self, record: EscalationRecord, way: Way, choice: Choice) -> None:
        self._choice = choice
        retried = way.choice == "retry"
        self._corrections = Corrections(record.context) if retried else None
        self._gives = way.choice == "resolve" and record.direction is Direction.FORWARD
        self._outputs: ui.textarea | None = None

    def draw(self) -> None:
        choice = self._choice
        stands = ", ".join(choice.standing) or "nothing"
        ui.label(f"Then: {_calls(choice)}. The run ends {choice.status}; what stands: {stands}.")
        if self._corrections is not None:
            self._corrections.draw()
        if self._gives:
            self._outputs = ui.textarea(
                "What the step gave, as JSON, by the names that it declares (empty: nothing)"
            ).classes("w-full mono")

    def outputs(self) -> Any:
        """Raises InvalidInput."""
        return None if self._outputs is None else object_of(self._outputs.value or "", "outputs")

    def corrections(self) -> Any:
        """Raises InvalidInput."""
        return None if self._corrections is None else self._corrections.changed()


def _calls(choice: Choice) -> str:
    return " → ".join(link.label for link in choice.links) or "no call"


def _alike(record: EscalationRecord) -> str:
    conditions = [f"workflow='{record.workflow}'", f"reason={record.reason}"]
    if record.step_id is not None:
        conditions.append(f"step='{record.step_id}'")
    conditions.append(f"tenant='{record.tenant}'")
    return f"/escalations?{urlencode({'where': ' and '.join(conditions)})}"


def _where_to_look(command: str) -> None:
    heading("Where to look")
    with ui.row().classes("items-center gap-2 w-full no-wrap"):
        with ui.element("div").classes("col overflow-hidden"):
            verbatim(command)
        button = ui.button(icon="content_copy").props('flat round aria-label="Copy the command"')
        button.on("click", js_handler=f"() => navigator.clipboard.writeText({json.dumps(command)})")


def _known(record: EscalationRecord) -> None:
    heading("What is known")
    context = record.context
    facts = (
        ("Why it turned back", context.get("cause")),
        ("Done, and standing", ", ".join(each["step"] for each in context.get("standing", ()))),
        ("Undone", ", ".join(context.get("undone", ()))),
        ("Unknown", ", ".join(context.get("unknown", ()))),
        ("Still to be undone", ", ".join(context.get("would_undo", ()))),
    )
    with table(of="What is known"):
        for name, text in facts:
            if text:
                with row():
                    cell(name, wraps=False)
                    cell(text)
    with ui.expansion("Everything, as JSON").classes("w-full"):
        verbatim(json.dumps(plain(context), indent=2))
