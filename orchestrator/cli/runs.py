"""`orchestrator runs …`"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
import uuid_utils
from msgspec.structs import replace
from rich.console import Group
from rich.live import Live
from rich.text import Text

from orchestrator.cli import moving, pauses, remote
from orchestrator.cli.draw_proposals import draw_proposal
from orchestrator.cli.draw_runs import draw_counts, draw_items, draw_run, draw_runs
from orchestrator.cli.draw_waits import draw_signal
from orchestrator.cli.elsewhere import on, sent
from orchestrator.cli.input import parse_assignments, parse_object
from orchestrator.cli.jobs import Detach, DryRun, RunsWhere, Yes, about_runs, act_on_many
from orchestrator.cli.output import JsonFlag, answer, stdout
from orchestrator.cli.session import acting, as_look, with_client, with_services
from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.definitions.attribute_texts import parse_pairs
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.where import runs_where
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.service.runs import RunView
    from orchestrator.wiring_services import Services

app = typer.Typer(help="Look at runs, watch, cancel, pause and resume them.", no_args_is_help=True)

_WATCHED = timedelta(days=1)
_WAITS_SECONDS = 30.0

MaybeRun = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="Its id, or the last 6 digits or more.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the last 6 digits or more.")]


@app.command("list")
def list_runs(
    *,
    status: Annotated[list[RunStatus] | None, typer.Option(help="Only these; repeatable.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only those that have it; repeatable."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="What is known of it: the beginning of its id or of an attribute's value, its"
            " workflow, its idempotency key, or words of why it failed."
        ),
    ] = None,
    where: RunsWhere = "",
    before: Annotated[
        str | None, typer.Option(help="Older than this run id: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Runs, newest first."""
    given = {
        "status": frozenset(status) if status else None,
        "workflow": workflow,
        "tenant": tenant,
        "attributes": parse_pairs("--attribute", attribute) if attribute else None,
        "text": text,
    }
    typed = {name: value for name, value in given.items() if value is not None}
    # What an option says counts before what the filter says of the same.
    which = replace(
        runs_where(where) if where else RunFilter(), **typed, before=before, limit=limit
    )
    found = with_services(
        as_look(lambda services: services.runs.list(which)),
        remote=lambda client: remote.list_runs(client, which),
    )
    answer(found, lambda: draw_runs(found), as_json=as_json)


@app.command("show")
def show_run(
    run: RunId,
    *,
    attempts: Annotated[bool, typer.Option(help="Every attempt as well.")] = False,
    audit: Annotated[bool, typer.Option(help="The audit trail as well.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """One run as its saga: steps forward, compensations in their order."""
    if remote.chosen_url():
        shown, chain = with_client(lambda client: remote.show_run(client, run))
        answer(
            {"run": shown, "chain": chain}, lambda: remote.draw_shown(shown, chain), as_json=as_json
        )
        return
    view = with_services(as_look(lambda services: services.runs.show(run)))
    answer(view, lambda: draw_run(view, attempts=attempts, audit=audit), as_json=as_json)


@app.command("items")
def list_items(
    run: RunId,
    *,
    step: Annotated[
        str | None, typer.Option(help="Of which step; without, of the run's only map.")
    ] = None,
    outcome: Annotated[
        ItemOutcome | None, typer.Option(help="Only those that ended so, or run.")
    ] = None,
    after: Annotated[int, typer.Option(min=-1, help="Those above this index: the next page.")] = -1,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Items of a map over data that have begun, by index, each with its run."""
    found = with_services(
        as_look(
            lambda services: services.runs.items(
                run, step=step, outcome=outcome, after=after, limit=limit
            )
        ),
        remote=lambda client: remote.list_items(
            client, run, step=step, outcome=outcome, after=after, limit=limit
        ),
    )
    answer(found, lambda: draw_items(found), as_json=as_json)


@app.command("watch")
def watch(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run; else all.")] = None,
    *,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between looks.")] = 0.5,
    seconds: Annotated[float | None, typer.Option(help="End after this long.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Watch one run until it settles, or all runs until Ctrl-C.

    Of all runs, those that have ended are counted if they were accepted in the last 24 hours.
    With --json, one object a line: whenever the run changed, or at each look.
    """
    if run is None:
        with_services(lambda services: _watch_all(services, every, _deadline(seconds), as_json))
    else:
        with_services(lambda s: _watch_one(s, run, every, _deadline(seconds), as_json))


@app.command("cancel")
def cancel(
    run: MaybeRun = None,
    *,
    where: RunsWhere = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    stop: Annotated[
        bool, typer.Option("--stop", help="Leave what is done as it is; the run ends abandoned.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who asks; default: you.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Ask a run, or all that fit, to end: undo what was done (or, with --stop, leave it)."""
    mode = CancelMode.STOP if stop else CancelMode.UNDO
    who = acting(by)
    if run is None or where:
        many = about_runs(where, run, dry_run=dry_run, yes=yes, detach=detach, mode=str(mode))
        act_on_many("runs.cancel", many, by=who, reason=reason, as_json=as_json)
        return
    record = with_services(
        lambda s: s.runs.cancel(run, mode=mode, reason=reason, by=who),
        remote=lambda client: remote.cancel_run(client, run, mode=mode, reason=reason),
    )
    answer(record, lambda: draw_runs([record]), as_json=as_json)


@app.command("signal")
def signal(
    run: RunId,
    name: Annotated[str, typer.Argument(help="The signal's name, as the workflow waits for it.")],
    *,
    data: Annotated[
        str, typer.Option(help="What it says, a JSON object: what the step gives.")
    ] = "{}",
    key: Annotated[
        str | None, typer.Option(help="The same key again is the same signal. Default: a new one.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who sends it; default: you.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Tell a run that something has happened. One that does not wait for it yet keeps it."""
    given, who = parse_object("--data", data), acting(by)
    receipt = with_services(
        lambda s: s.waiting.send_signal(
            run, name, key=key or str(uuid_utils.uuid7()), data=given, by=who, via="cli"
        ),
        remote=on("run", run, "signal", name, given, key=key),
    )
    answer(receipt, lambda: draw_signal(receipt), as_json=as_json)


@app.command("rerun")
def rerun(
    run: MaybeRun = None,
    *,
    where: RunsWhere = "",
    dry_run: moving.Try = False,
    yes: Yes = False,
    detach: Detach = False,
    step: Annotated[str, typer.Option("--from", help="The step to begin with.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit of both runs.")] = "",
    version: Annotated[
        int | None, typer.Option(help="Of the workflow; default: the one that the run followed.")
    ] = None,
    repeat_effects: Annotated[
        bool, typer.Option("--repeat-effects", help="What stands from there on may come twice.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who asks; default: you.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """A new run from a step on, of a run or of all that fit; it takes over what they did before."""
    from orchestrator.service.rerunning import Rerun

    who = acting(by)
    wish = Rerun(
        run_id=run or "", step=step, by=who, reason=reason, version=version,
        repeat_effects=repeat_effects,
    )  # fmt: skip
    if dry_run:
        moving.dry_rerun(run, where, wish, as_json=as_json)
        return
    if run is None or where:
        told = {"step": step, "repeat_effects": repeat_effects}
        told |= {} if version is None else {"version": version}
        many = about_runs(where, run, dry_run=dry_run, yes=yes, detach=detach, **told)
        act_on_many("runs.rerun", many, by=who, reason=reason, as_json=as_json)
        return

    async def act(services: Services) -> RunRecord:
        return await services.runs.get((await services.rerunning.rerun(wish)).run_id)

    def elsewhere(client: Client) -> Any:
        made = on(
            "run", run, "rerun", step, reason=reason, version=version,
            repeat_effects=repeat_effects,
        )(client)  # fmt: skip
        return sent("run", made.run_id)(client)

    record = with_services(act, remote=elsewhere)
    answer(record, lambda: draw_runs([record]), as_json=as_json)


@app.command("edit")
def edit(
    run: RunId,
    *,
    step: Annotated[str, typer.Option(help="The step; it must not have begun.")],
    values: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter, a field of the payload, or a JSON pointer into it; JSON or text.",
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    by: Annotated[str, typer.Option(help="Who proposes it; default: you.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Propose other values for a step; a second person confirms: orchestrator proposals confirm."""
    given, who = parse_assignments("--set", values), acting(by)
    made = with_services(
        lambda s: s.editing.propose(run, step, given, by=who, reason=reason, via="cli"),
        remote=on("run", run, "edit", step, given, reason=reason),
    )
    answer(made, lambda: draw_proposal(made), as_json=as_json)


app.command("migrate")(moving.migrate)
pauses.add_to(app)


async def follow(services: Services, run: str, every: float) -> AsyncIterator[RunView]:
    """The run at each look, the last time when it has settled."""
    while True:
        view = await services.runs.show(run)
        yield view
        if view.run.status in SETTLED:
            return
        await asyncio.sleep(every)


async def settled(services: Services, run: str) -> RunView:
    """The run once it has settled."""
    view = await services.runs.show(run)
    while view.run.status not in SETTLED:
        await services.watch.changed(view.run.id, after=view.run.audit_seq, seconds=_WAITS_SECONDS)
        view = await services.runs.show(run)
    return view


async def _watch_one(
    services: Services, run: str, every: float, deadline: float | None, as_json: bool
) -> None:
    seen: tuple[object, ...] = ()
    with Live(console=stdout, auto_refresh=False, transient=False) as live:
        async for view in follow(services, run, every):
            now = (view.run.status, view.run.audit_seq)
            if as_json and now != seen:
                _print_line(view)
            elif not as_json:
                live.update(draw_run(view), refresh=True)
            seen = now
            if _is_over(deadline):
                return


async def _watch_all(
    services: Services, every: float, deadline: float | None, as_json: bool
) -> None:
    started, first_settled = time.monotonic(), None
    since = await services.runs.now() - _WATCHED
    with Live(console=stdout, auto_refresh=False, transient=False) as live:
        while not _is_over(deadline):
            counts = await services.runs.count_by_status(since=since)
            settled = sum(count for status, count in counts.items() if status in SETTLED)
            first_settled = settled if first_settled is None else first_settled
            if as_json:
                _print_line(counts)
            else:
                newest = await services.runs.list(RunFilter(limit=max(5, stdout.height - 10)))
                rate = (settled - first_settled) / max(time.monotonic() - started, every)
                live.update(_overview(counts, rate, newest), refresh=True)
            await asyncio.sleep(every)


def _overview(counts: dict[RunStatus, int], rate: float, newest: list[RunRecord]) -> Group:
    pace = Text(f"{rate:,.0f} runs/s settled since the watch began", style="dim")
    return Group(draw_counts(counts), pace, draw_runs(newest))


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _print_line(value: object) -> None:
    typer.echo(orjson.dumps(plain(value)).decode())
