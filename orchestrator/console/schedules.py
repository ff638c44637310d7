"""Schedules: when runs begin by the calendar, what became of past times, pause and run now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask, attempt
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, keyed, moment, shown, to_login
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.schedules import Overlap
from orchestrator.definitions.calendars import in_words
from orchestrator.errors import NotFound
from orchestrator.ports.schedules import Firing, ScheduleChange, ScheduleRecord
from orchestrator.service.principal import Principal
from orchestrator.service.schedules import ScheduleView, upcoming_of

NOTHING = "There are no schedules. Make one: orchestrator schedules set --help"
MEANS_PAUSED = (
    "It begins no run until it is resumed; runs that were begun go on. Times that pass meanwhile"
    " are not made up for by themselves."
)
OVERLAPS = {
    Overlap.SKIP: "is skipped", Overlap.QUEUE: "waits for it", Overlap.CANCEL: "cancels it",
    Overlap.ALLOW: "runs beside it",
}  # fmt: skip


def register(desk: Desk) -> None:
    """A list of all, and one."""

    @page("/schedules")
    async def schedules(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Schedules", await visitor.principal()):
            await _all(visitor)
        return None

    @page("/schedules/{tenant}/{name}")
    async def schedule(request: Request, tenant: str, name: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame(f"Schedule {name}", await visitor.principal()):
            await _One(visitor, tenant, name).draw()
        return None


async def _all(visitor: Visitor) -> None:
    async def read() -> Sequence[ScheduleRecord]:
        who = await visitor.principal()
        return await visitor.services.schedules.list(who.tenant)

    await shown(visitor, read, _show_all)


def _show_all(found: Sequence[ScheduleRecord]) -> None:
    if not found:
        ui.label(NOTHING)
        return
    columns = ("Schedule", "Tenant", "Workflow", "Times", "Next (UTC)", "While one goes on")
    with table(*columns, of="Schedules"):
        for each in found:
            with row():
                link_cell(each.name, _address(each.tenant, each.name))
                cell(each.tenant)
                cell(_workflow_of(each))
                cell(in_words(each.schedule.rhythm))
                cell(_next(each), wraps=False)
                cell(f"the next {OVERLAPS[each.schedule.overlap]}")


def _address(tenant: str, name: str) -> str:
    return f"/schedules/{quote(tenant, safe='')}/{quote(name, safe='')}"


def _workflow_of(record: ScheduleRecord) -> str:
    schedule = record.schedule
    return schedule.workflow + (f" v{schedule.version}" if schedule.version else "")


def _next(record: ScheduleRecord) -> str:
    if record.paused:
        return "paused"
    return moment(next(iter(upcoming_of(record, 1)), None)) or "none any more"


class _One:
    """One schedule, with what an operator can do to it."""

    def __init__(self, visitor: Visitor, tenant: str, name: str) -> None:
        self._visitor, self._tenant, self._name = visitor, tenant, name
        self._look: Again

    async def draw(self) -> None:
        """Drawn anew whenever something of it has changed."""
        self._look = await shown(self._visitor, self._read, self._show)

    async def _read(self) -> ScheduleView:
        self._may_see(await self._visitor.principal())
        return await self._visitor.services.schedules.show(self._tenant, self._name)

    def _may_see(self, who: Principal) -> None:
        """What belongs to others is not there. Raises NotFound."""
        if not who.sees(self._tenant):
            raise NotFound(f"there is no schedule {self._name}")

    def _show(self, view: ScheduleView) -> None:
        record = view.record
        schedule = record.schedule
        with ui.row().classes("items-center gap-4"):
            ui.label(f"tenant {record.tenant}")
            link_to(_workflow_of(record), f"/workflows/{quote(schedule.workflow, safe='')}")
            ui.label(in_words(schedule.rhythm))
            ui.label(f"while a run goes on, the next {OVERLAPS[schedule.overlap]}")
            if schedule.jitter_seconds:
                ui.label(f"up to {schedule.jitter_seconds:g} s later, by chance")
            self._acts(record)
        if record.paused:
            ui.label(f"Paused by {record.changed_by}: {record.reason}").classes("text-bold")
        _coming(view.upcoming, schedule.rhythm.zone)
        _past(view.firings)
        _changes(view.changes)

    def _acts(self, record: ScheduleRecord) -> None:
        does = self._resume if record.paused else self._pause
        verb, key = ("Resume", "r") if record.paused else ("Pause", "p")
        question = Question(
            title=f"{verb} {record.name}", verb=verb, does=does,
            means="" if record.paused else MEANS_PAUSED,
        )  # fmt: skip
        act = partial(ask, self._visitor, question, self._look_again)
        for button in (
            keyed(ui.button(f"{question.verb}…", on_click=act), key),
            ui.button("Run now", on_click=self._run_now).tooltip(
                "One run begins at once, whatever goes on. Its times stay as they are."
            ),
        ):
            button.props("outline dense no-wrap").classes("q-px-sm")

    async def _run_now(self) -> None:
        if await attempt(self._visitor, self._trigger):
            ui.notify("A run begins.", type="positive")
        await self._look()

    async def _look_again(self) -> None:
        await self._look()

    async def _pause(self, who: Principal, reason: str) -> str:
        self._may_see(who)
        schedules = self._visitor.services.schedules
        await schedules.pause(self._tenant, self._name, by=who.name, reason=reason)
        return "Paused."

    async def _resume(self, who: Principal, reason: str) -> str:
        self._may_see(who)
        schedules = self._visitor.services.schedules
        found = await schedules.resume(self._tenant, self._name, by=who.name, reason=reason)
        return f"It goes on: next at {_next(found)}."

    async def _trigger(self, who: Principal) -> None:
        self._may_see(who)
        await self._visitor.services.schedules.trigger(self._tenant, self._name, by=who.name)


def _coming(times: Sequence[datetime], zone: str) -> None:
    heading("Next times")
    if not times:
        ui.label("None.")
        return
    with table("UTC", *([zone] if zone != "UTC" else []), of="Next times"):
        for at in times:
            with row():
                cell(moment(at), wraps=False)
                if zone != "UTC":
                    cell(f"{at.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M:%S %Z}", wraps=False)


def _past(firings: Sequence[Firing]) -> None:
    heading("Last times")
    if not firings:
        ui.label("None yet.")
        return
    with table("Time (UTC)", "Became", "Because of", "Run", "Why", of="Last times"):
        for each in firings:
            with row():
                since = f"{moment(each.since)} … " if each.since else ""
                cell(f"{since}{moment(each.at)}", wraps=False)
                cell(each.state)
                cell(each.kind)
                if each.run_id is None:
                    cell("")
                else:
                    link_cell(each.run_id[-12:], f"/runs/{each.run_id}")
                cell(each.reason)


def _changes(changes: Sequence[ScheduleChange]) -> None:
    heading("Changes")
    with table("#", "When (UTC)", "What", "By", "Why", of="Changes"):
        for each in changes:
            with row():
                cell(str(each.version))
                cell(moment(each.at), wraps=False)
                cell(each.kind)
                cell(each.by)
                cell(each.reason)
