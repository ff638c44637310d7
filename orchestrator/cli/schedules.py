"""`orchestrator schedules …`: runs that begin by the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.draw_schedules import draw_one, draw_schedules, draw_times
from orchestrator.cli.elsewhere import Remote, listed, sent
from orchestrator.cli.input import parse_assignments, parse_inputs
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.cli.spans import span_of
from orchestrator.core.schedules import CatchUp, Overlap, Rhythm, Schedule
from orchestrator.errors import InvalidInput, Problem
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.ports.schedules import ScheduleRecord
    from orchestrator.service.schedules import Schedules
    from orchestrator.wiring_services import Services

app = typer.Typer(help="Runs that begin by the calendar.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The schedule.")]
Tenant = Annotated[str, typer.Option(help="Of this tenant.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the change.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]
Cron = Annotated[
    str | None,
    typer.Option(help="Minute, hour, day, month, weekday: '0 3 * * MON'. Seconds may go before."),
]
Every = Annotated[str | None, typer.Option(help="Instead: every 15m, 6h, 1d.")]
Zone = Annotated[str, typer.Option(help="The time zone whose clocks --cron means.")]
Starts = Annotated[
    str | None, typer.Option("--from", help="No run before; of --every: its first time.")
]
Ends = Annotated[str | None, typer.Option("--until", help="No run after.")]


@app.command("list")
def list_schedules(
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """All schedules, with their next times."""
    from orchestrator.service.schedules_told import record_told

    async def look(services: Services) -> Any:
        return [record_told(each) for each in await services.schedules.list(tenant)]

    told = plain(with_services(look, remote=listed("schedules", tenant=tenant)))
    answer(told, lambda: draw_schedules(told), as_json=as_json)


@app.command("show")
def show(
    name: Name,
    *,
    tenant: Tenant = "default",
    upcoming: Annotated[int, typer.Option(help="So many of its next times.")] = 5,
    last: Annotated[int, typer.Option(help="What became of so many of its last times.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """One: its next times, what became of its last ones, and who changed it."""
    from orchestrator.service.schedules_told import view_told

    async def look(services: Services) -> Any:
        return view_told(await services.schedules.show(tenant, name, upcoming=upcoming, last=last))

    elsewhere = sent("schedule", name, upcoming=upcoming, last=last, tenant=tenant)
    told = plain(with_services(look, remote=elsewhere))
    answer(told, lambda: draw_one(told), as_json=as_json)


@app.command("times")
def times(
    *,
    cron: Cron = None,
    every: Every = None,
    zone: Zone = "UTC",
    starts: Starts = None,
    ends: Ends = None,
    after: Annotated[str | None, typer.Option(help="From then on; default: from now on.")] = None,
    count: Annotated[int, typer.Option(help="So many.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """The next times of a rhythm, before it is made a schedule."""
    from orchestrator.core.schedules import told

    rhythm = _rhythm(cron, every, zone, starts, ends)
    first = None if after is None else _moment(after, "--after")
    found = [
        told(at) for at in with_services(
            lambda services: services.schedules.foreseen(rhythm, count=count, after=first)
        )
    ]  # fmt: skip
    answer(found, lambda: draw_times(found, rhythm.zone), as_json=as_json)


@app.command("set")
def set_schedule(
    name: Name,
    *,
    workflow: Annotated[str, typer.Option(help="What is to run.")],
    version: Annotated[
        int | None,
        typer.Option(
            help="Always this version; default: what `stable` names then, else the latest."
        ),
    ] = None,
    cron: Cron = None,
    every: Every = None,
    zone: Zone = "UTC",
    starts: Starts = None,
    ends: Ends = None,
    inputs: Annotated[str | None, typer.Option(help="Inputs of its runs: a JSON object.")] = None,
    input_values: Annotated[
        list[str] | None, typer.Option("--input", help="One of them: name=value. Repeatable.")
    ] = None,
    time_input: Annotated[
        str | None, typer.Option(help="The input that is given the time, as text.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="By which its runs are found: name=value. Repeatable.")
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option(help="While an earlier run goes on: what of the next time.")
    ] = Overlap.SKIP,
    catch_up: Annotated[
        CatchUp, typer.Option(help="Times at which no worker was there: which are made up for.")
    ] = CatchUp.LAST,
    catch_up_for: Annotated[str, typer.Option(help="With 'all': no further back than.")] = "1d",
    jitter: Annotated[
        str, typer.Option(help="Each run begins up to so much later, by chance.")
    ] = "0s",
    priority: Annotated[int, typer.Option(help="Of its runs.")] = 0,
    deadline: Annotated[
        str | None, typer.Option(help="Of its runs; default: the workflow's.")
    ] = None,
    tenant: Tenant = "default",
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Have a workflow run by the calendar; a schedule of this name is replaced."""
    wanted = Schedule(
        workflow=workflow, version=version, rhythm=_rhythm(cron, every, zone, starts, ends),
        inputs=parse_inputs(input_values or [], inputs), time_input=time_input,
        attributes=parse_assignments("--attribute", attribute or []), priority=priority,
        deadline_seconds=None if deadline is None else _seconds(deadline, "--deadline"),
        overlap=overlap, catch_up=catch_up,
        catch_up_seconds=_seconds(catch_up_for, "--catch-up-for"),
        jitter_seconds=_seconds(jitter, "--jitter"),
    )  # fmt: skip
    from orchestrator.service.schedules_told import schedule_told

    who = acting(by)
    elsewhere = sent("set_schedule", name, schedule_told(wanted), reason=reason, tenant=tenant)
    _change(lambda its: its.set(tenant, name, wanted, by=who, reason=reason), elsewhere, as_json)


@app.command("pause")
def pause(
    name: Name, *, tenant: Tenant = "default", reason: Reason, by: By = "",
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Begin no run for it until it is resumed."""
    who = acting(by)
    elsewhere = sent("pause_schedule", name, reason=reason, tenant=tenant)
    _change(lambda its: its.pause(tenant, name, by=who, reason=reason), elsewhere, as_json)


@app.command("resume")
def resume(
    name: Name, *, tenant: Tenant = "default", reason: Reason, by: By = "",
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Go on with its next time; those in between are left out."""
    who = acting(by)
    elsewhere = sent("resume_schedule", name, reason=reason, tenant=tenant)
    _change(lambda its: its.resume(tenant, name, by=who, reason=reason), elsewhere, as_json)


@app.command("delete")
def delete(
    name: Name, *, tenant: Tenant = "default", reason: Reason, by: By = "",
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Begin nothing for it any more; its runs, and what was done to it, stay."""
    who = acting(by)
    elsewhere = sent("delete_schedule", name, reason=reason, tenant=tenant)
    _change(lambda its: its.delete(tenant, name, by=who, reason=reason), elsewhere, as_json)


@app.command("trigger")
def trigger(
    name: Name, *, tenant: Tenant = "default", by: By = "", as_json: JsonFlag = False
) -> None:
    """Begin one run now, whatever goes on."""
    from orchestrator.core.schedules import told

    who = acting(by)

    async def act(services: Services) -> Any:
        return [told(await services.schedules.trigger(tenant, name, by=who))]

    _times(act, sent("trigger_schedule", name, tenant=tenant), as_json)


@app.command("backfill")
def backfill(
    name: Name,
    *,
    since: Annotated[str, typer.Option("--from", help="The first time: 2026-11-01T00:00Z.")],
    until: Annotated[str, typer.Option("--until", help="The last one; it has come.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which, begin none.")] = False,
    tenant: Tenant = "default",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Begin runs for past times that have none: one after the other, unless they may overlap."""
    from orchestrator.core.schedules import told

    who = acting(by)
    first, last = _moment(since, "--from"), _moment(until, "--until")

    async def act(services: Services) -> Any:
        found = await services.schedules.backfill(
            tenant, name, since=first, until=last, by=who, dry_run=dry_run
        )
        return [told(at) for at in found]

    elsewhere = sent(
        "backfill_schedule", name, since=first, until=last, dry_run=dry_run, tenant=tenant
    )
    _times(act, elsewhere, as_json)


def _change(
    change: Callable[[Schedules], Awaitable[ScheduleRecord]], remote: Remote, as_json: bool
) -> None:
    from orchestrator.service.schedules_told import record_told

    async def act(services: Services) -> Any:
        return record_told(await change(services.schedules))

    made = plain(with_services(act, remote=remote))
    answer(made, lambda: draw_schedules([made]), as_json=as_json)


def _times(act: Callable[[Services], Awaitable[Any]], remote: Remote, as_json: bool) -> None:
    """What it was begun for."""
    said = plain(with_services(act, remote=remote))
    found = said["times"] if isinstance(said, dict) else said  # the face tells more than a list
    answer({"times": found}, lambda: draw_times(found, "UTC"), as_json=as_json)


def _rhythm(
    cron: str | None, every: str | None, zone: str, starts: str | None, ends: str | None
) -> Rhythm:
    return Rhythm(
        cron=cron, zone=zone,
        every_seconds=None if every is None else round(_seconds(every, "--every")),
        starts_at=None if starts is None else _moment(starts, "--from"),
        ends_at=None if ends is None else _moment(ends, "--until"),
    )  # fmt: skip


def _seconds(given: str, place: str) -> float:
    return span_of(given, place=place).total_seconds()


def _moment(given: str, place: str) -> datetime:
    """A time with its offset, or in UTC. Raises InvalidInput."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        wanted = "a time such as 2026-11-01T03:00+01:00 or 2026-11-01T02:00Z"
        problem = Problem(place=place, found=repr(given), wanted=wanted)
        raise InvalidInput("this is no time", problems=[problem]) from None
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
