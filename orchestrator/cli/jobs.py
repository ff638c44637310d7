"""`orchestrator jobs …`: acts on many things at once; and how other commands start one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from orchestrator.cli.draw_jobs import draw_job, draw_jobs
from orchestrator.cli.elsewhere import counted, ended, listed, on, started
from orchestrator.cli.output import JsonFlag, answer, stderr
from orchestrator.cli.session import acting, as_look, with_services
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import JobItemState, JobOrder, JobRecord, JobState, Which
from orchestrator.service.where import escalations_where, runs_where
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.ports import JobItemRecord
    from orchestrator.wiring_services import Services

app = typer.Typer(
    help="Acts on many things at once: how far they are; hold them, let them go on, end them.",
    no_args_is_help=True,
)

_LOOK_EVERY_SECONDS = 0.3
_UNDER_WAY = frozenset({JobState.RUNNING})

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, or the last 6 digits or more.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the job.")]
By = Annotated[str, typer.Option(help="Who asks; default: you.")]
Where = Annotated[
    str,
    typer.Option(
        metavar="FILTER",
        help="All that fit: 'api=payments and reason=in_doubt and age>30m and detail~timeout'.",
    ),
]
RunsWhere = Annotated[
    str,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="All that fit: 'workflow=checkout and tenant=acme and status=waiting,parked and"
        " age>1h and attribute.customer=42'.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --where: say how many fit, and do nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --where: do not ask.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="With --where: do not wait until it is done.")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Many:
    """What somebody typed about an act on all that fit a filter."""

    where: str
    ids: Sequence[str] | None = None
    dry_run: bool
    yes: bool
    detach: bool
    about: Callable[[str], Which] = escalations_where  # reads the filter
    arguments: Mapping[str, Any] = field(default_factory=dict)


def about_runs(
    where: str, run: str | None, *, dry_run: bool, yes: bool, detach: bool, **arguments: Any
) -> Many:
    """What somebody typed about all runs that fit."""
    return Many(
        where=where, ids=None if run is None else [run], dry_run=dry_run, yes=yes, detach=detach,
        about=runs_where, arguments=arguments,
    )  # fmt: skip


def require_some(where: str, ids: Sequence[str] | None = None) -> None:
    """Raises InvalidInput unless it is said of which things, and in one way."""
    if ids or not where:
        found = "both" if ids else "neither"
        problem = Problem(place="ID or --where", found=found, wanted="one of them")
        raise InvalidInput("which ones?", problems=[problem])


def act_on_many(kind: str, many: Many, *, by: str, reason: str, as_json: bool) -> None:
    """Start a job on all that fit, and follow it to its end. Raises InvalidInput, NotFound."""
    require_some(many.where, many.ids)
    which = many.about(many.where)
    if many.dry_run or not (many.yes or as_json):
        fit = with_services(
            lambda services: services.jobs.count(kind, which), remote=counted(kind, which)
        )
        if many.dry_run:
            answer({"fit": fit}, lambda: Text(f"{fit:,} fit"), as_json=as_json)
            return
        typer.confirm(f"{kind} on {fit:,}?", abort=True, err=True)
    job = with_services(
        lambda services: _start(services, kind, which, many, by, reason),
        remote=lambda client: _start_elsewhere(client, kind, which, many, reason),
    )
    answer(job, lambda: draw_job(job, ()), as_json=as_json)


async def _start(
    services: Services, kind: str, which: Which, many: Many, by: str, reason: str
) -> JobRecord:
    job = await services.jobs.start(
        kind, which, by=by, reason=reason, arguments=dict(many.arguments)
    )
    return job if many.detach else await _follow(services, job)


def _start_elsewhere(client: Client, kind: str, which: Which, many: Many, reason: str) -> Any:
    job = started(kind, which, reason=reason, arguments=many.arguments)(client)
    return job if many.detach else _follow_elsewhere(client, job)


def _follow_elsewhere(client: Client, job: Any) -> Any:
    with _progress() as bar:
        shown = bar.add_task(f"job {job.id[-12:]}", total=job.total)
        return ended(
            client, job, look=lambda now: bar.update(shown, completed=now.done + now.refused)
        )


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeElapsedColumn(), console=stderr, transient=True)


async def _follow(services: Services, job: JobRecord) -> JobRecord:
    """The job once it is over or held. Interrupted, it goes on without us."""
    with _progress() as bar:
        shown = bar.add_task(f"job {job.id[-12:]}", total=job.total)
        while job.state in _UNDER_WAY:
            bar.update(shown, completed=job.done + job.refused)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            job = await services.jobs.show(job.id)
    return job


@app.command("list")
def list_jobs(
    *,
    before: Annotated[
        str | None, typer.Option(help="Older than this job id: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Jobs, newest first."""
    found = with_services(
        as_look(lambda services: services.jobs.list(before=before, limit=limit)),
        remote=listed("jobs", cursor=before, limit=limit),
    )
    answer(found, lambda: draw_jobs(found), as_json=as_json)


@app.command("show")
def show(
    job: JobId,
    *,
    state: Annotated[
        JobItemState | None, typer.Option(help="Its things that stand so; default: refused.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, max=100_000, help="Of its things.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """One job, and what came of its things."""

    async def read(services: Services) -> tuple[JobRecord, Sequence[JobItemRecord]]:
        found = await services.jobs.show(job)
        items = await services.jobs.items(
            found.id, state=state or JobItemState.REFUSED, limit=limit
        )
        return found, items

    def elsewhere(client: Client) -> Any:
        found = on("job", job, "job")(client)
        wanted = str(state or JobItemState.REFUSED)
        return found, listed("job_items", found.id, state=wanted, limit=limit)(client)

    found, items = with_services(as_look(read), remote=elsewhere)
    value = {**plain(found), "items": plain(items)}
    answer(value, lambda: draw_job(found, items), as_json=as_json)


@app.command("watch")
def watch(job: JobId, *, as_json: JsonFlag = False) -> None:
    """Wait until a job is over or held."""

    async def follow(services: Services) -> JobRecord:
        return await _follow(services, await services.jobs.show(job))

    found = with_services(
        follow,
        remote=lambda client: _follow_elsewhere(client, on("job", job, "job")(client)),
    )
    answer(found, lambda: draw_job(found, ()), as_json=as_json)


@app.command("pause")
def pause(job: JobId, *, reason: Reason, by: By = "", as_json: JsonFlag = False) -> None:
    """Hold a job: from now on nothing more is acted on."""
    _order(job, JobOrder.PAUSE, reason, by, as_json)


@app.command("resume")
def resume(job: JobId, *, reason: Reason, by: By = "", as_json: JsonFlag = False) -> None:
    """Let a paused job go on."""
    _order(job, JobOrder.RESUME, reason, by, as_json)


@app.command("cancel")
def cancel(job: JobId, *, reason: Reason, by: By = "", as_json: JsonFlag = False) -> None:
    """End a job: what it has done stays done, the rest is left as it was."""
    _order(job, JobOrder.CANCEL, reason, by, as_json)


def _order(job: str, order: JobOrder, reason: str, by: str, as_json: bool) -> None:
    who = acting(by)
    found = with_services(
        lambda s: s.jobs.order(job, order, by=who, reason=reason),
        remote=on("job", job, "order_job", str(order), reason=reason),
    )
    answer(found, lambda: draw_job(found, ()), as_json=as_json)
