"""Pauses: what begins nothing for now, since when and why; and the way to pause and resume."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, keyed, moment, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, row, table
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import Pause
from orchestrator.service.apis import ApiView
from orchestrator.service.pausing import Scope
from orchestrator.service.principal import Principal

MEANS = (
    "Runs begin nothing more, within a second; calls in flight end and are recorded. Runs that"
    " turn back go on, unless they are to stop as well."
)
EVERYTHING, WORKFLOW, TENANT = "all runs", "a workflow", "a tenant"


def register(desk: Desk) -> None:
    """All on one page."""

    @page("/pauses")
    async def pauses(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame("Pauses", who):
            await _all(visitor, who)
        return None


async def active_pauses(visitor: Visitor) -> list[Pause]:
    """Those that hold now and that somebody may see, newest first."""
    who = await visitor.principal()
    found = await visitor.services.pausing.list()
    return [each for each in found if who.tenant in (None, each.tenant)]


async def _all(visitor: Visitor, who: Principal) -> None:
    again: Again

    async def look() -> None:
        await again()

    async def read() -> tuple[list[Pause], Sequence[ApiView]]:
        who = await visitor.principal()
        held: list[ApiView] = []
        if who.tenant is None:
            overview = await visitor.services.apis.overview()
            held = [each for each in overview.apis if each.held is not None]
        return await active_pauses(visitor), held

    workflows = [each.workflow for each in await visitor.services.workflows.list()]
    choose = partial(_choose, visitor, who, sorted(set(workflows)), look)
    with ui.row():
        keyed(ui.button("Pause…", on_click=choose), "p")
    again = await shown(visitor, read, lambda found: _show(visitor, look, *found))


def _show(visitor: Visitor, again: Again, pauses: list[Pause], held: Sequence[ApiView]) -> None:
    if not pauses:
        ui.label("Nothing is paused.")
    else:
        with table("What", "By", "Since (UTC)", "Until", "Why", "", of="Pauses"):
            for each in pauses:
                with row():
                    with ui.element("td"):
                        if each.run_id is None:
                            ui.label(each.scope)
                        else:
                            link_to(f"run {each.run_id[-12:]}", f"/runs/{each.run_id}")
                    cell(each.by)
                    cell(moment(each.since), wraps=False)
                    cell(moment(each.until) or "resumed")
                    cell(each.reason + (" (undos too)" if each.also_undoing else ""))
                    with ui.element("td"):
                        resume_button(visitor, each, again)
    if held:
        heading("APIs that are held")
        for api in held:
            assert api.held is not None
            link_to(f"{api.api}: by {api.held.by}, {api.held.reason}", "/apis")


def resume_button(visitor: Visitor, pause: Pause, again: Again) -> ui.button:
    """Ends a pause."""

    async def resume(who: Principal, reason: str) -> str:
        found = await visitor.services.pausing.show(pause.id)
        if not who.sees(found.tenant or "") and who.tenant is not None:
            raise NotFound(f"no such pause: {pause.id}")
        await visitor.services.pausing.resume(found.id, by=who.name, reason=reason)
        return "It goes on."

    question = Question(title=f"Resume {pause.scope}", verb="Resume", does=resume)
    button = ui.button("Resume…", on_click=lambda: ask(visitor, question, again))
    return button.props("outline dense no-wrap").classes("q-px-sm")


def ask_to_pause(visitor: Visitor, scope: Scope, again: Again) -> None:
    """Pause exactly this."""
    more = Terms()

    async def pause(who: Principal, reason: str) -> str:
        return await _pause(visitor, scope, more, who, reason)

    ask(visitor, Question(
        title=f"Pause {scope.in_words}", verb="Pause", does=pause, means=MEANS, more=more.draw
    ), again)  # fmt: skip


def _choose(visitor: Visitor, who: Principal, workflows: Sequence[str], again: Again) -> None:
    """Pause what is chosen in the dialog."""
    terms, chosen = Terms(), _What(who, workflows)

    async def pause(who: Principal, reason: str) -> str:
        return await _pause(visitor, chosen.scope(who), terms, who, reason)

    def more() -> None:
        chosen.draw()
        terms.draw()

    ask(visitor, Question(
        title="Pause", verb="Pause", does=pause, means=MEANS, more=more, grave=True
    ), again)  # fmt: skip


async def _pause(visitor: Visitor, scope: Scope, terms: Terms, who: Principal, reason: str) -> str:
    made = await visitor.services.pausing.pause(
        scope, by=who.name, reason=reason, also_undoing=terms.also_undoing, seconds=terms.seconds()
    )
    return f"Paused: {made.scope}."


class _What:
    """All runs, those of a workflow, those of a tenant."""

    def __init__(self, who: Principal, workflows: Sequence[str]) -> None:
        self._who, self._workflows = who, workflows

    def draw(self) -> None:
        ways = (
            [WORKFLOW, TENANT, EVERYTHING] if self._who.tenant is None else [WORKFLOW, EVERYTHING]
        )
        self._way = ui.radio(ways, value=WORKFLOW).props('inline aria-label="What is paused"')
        self._workflow = ui.select(
            list(self._workflows), label="Workflow", with_input=True
        ).classes("w-full")  # fmt: skip
        self._tenant = ui.input("Tenant").classes("w-full")
        self._workflow.bind_visibility_from(self._way, "value", value=WORKFLOW)
        self._tenant.bind_visibility_from(self._way, "value", value=TENANT)

    def scope(self, who: Principal) -> Scope:
        """Raises InvalidInput where the name is missing, NotAllowed."""
        workflow = self._workflow.value if self._way.value == WORKFLOW else None
        tenant = self._tenant.value.strip() if self._way.value == TENANT else None
        if self._way.value != EVERYTHING and not (workflow or tenant):
            problem = Problem(place=self._way.value, found="nothing", wanted="its name")
            raise InvalidInput("what is to be paused", problems=[problem])
        return Scope(workflow=workflow, tenant=who.tenant_of(tenant))


class Terms:
    """For how long, and whether undos stop as well."""

    def draw(self) -> None:
        """Their fields, in a dialog."""
        self._hours = ui.number("Hours, then it goes on by itself (empty: until resumed)", min=0)
        self._hours.classes("w-full")
        self._undoing = ui.checkbox("Runs that turn back stop as well")

    @property
    def also_undoing(self) -> bool:
        """Whether runs that turn back stop."""
        return bool(self._undoing.value)

    def seconds(self) -> float | None:
        """None: until it is resumed."""
        return float(self._hours.value) * 3600 if self._hours.value else None
