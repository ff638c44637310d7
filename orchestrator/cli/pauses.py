"""`orchestrator runs pause | resume | pauses`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import moment, short, table
from orchestrator.cli.elsewhere import Remote, listed, paused, resumed, sent
from orchestrator.cli.jobs import Detach, DryRun, RunsWhere, Yes, about_runs, act_on_many
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.cli.spans import span_of
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import Pause
from orchestrator.settings import load_settings
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.client import Client
    from orchestrator.service.apis import ApiView
    from orchestrator.service.pausing import Scope
    from orchestrator.wiring_services import Services

Run = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="One run: its id, or 6 digits of it or more.")
]
Workflow = Annotated[str | None, typer.Option(help="All runs of this workflow.")]
Tenant = Annotated[
    str | None, typer.Option(help="All runs of this tenant; with --workflow: those that are both.")
]
Api = Annotated[str | None, typer.Option(help="All calls of this API: holds or releases it.")]
All = Annotated[bool, typer.Option("--all", help="All runs.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]


def add_to(app: typer.Typer) -> None:
    """Make these commands of `runs`."""
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("pauses")(list_pauses)


def pause(
    run: Run = None,
    *,
    workflow: Workflow = None,
    tenant: Tenant = None,
    api: Api = None,
    everything: All = False,
    where: RunsWhere = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the pause.")],
    lasting: Annotated[
        str, typer.Option("--for", help="It ends by itself after 30m, 2h, 1d; default: never.")
    ] = "",
    also_undoing: Annotated[
        bool, typer.Option("--also-undoing", help="Stop runs that turn back as well.")
    ] = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Let runs begin nothing: calls in flight end and are recorded, undoing goes on."""
    who = acting(by)
    if api is not None:
        _alone("--api", run, workflow, tenant, everything, lasting, also_undoing)
        _hold(
            as_json, lambda services: services.apis.hold(api, by=who, reason=reason),
            sent("hold_api", api, reason=reason),
        )  # fmt: skip
        return
    seconds = span_of(lasting, place="--for").total_seconds() if lasting else None
    if where:
        _alone("--where", run, workflow, tenant, everything)
        told = {"also_undoing": also_undoing} | ({} if seconds is None else {"seconds": seconds})
        many = about_runs(where, None, dry_run=dry_run, yes=yes, detach=detach, **told)
        act_on_many("runs.pause", many, by=who, reason=reason, as_json=as_json)
        return
    scope = _scope(run, workflow, tenant, everything)
    made = with_services(
        lambda services: services.pausing.pause(
            scope, by=who, reason=reason, also_undoing=also_undoing, seconds=seconds
        ),
        remote=paused(scope, reason=reason, also_undoing=also_undoing, seconds=seconds),
    )
    answer(made, lambda: _draw(made), as_json=as_json)


def resume(
    run: Run = None,
    *,
    workflow: Workflow = None,
    tenant: Tenant = None,
    api: Api = None,
    everything: All = False,
    where: RunsWhere = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the pause.")] = "",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """End a pause; what no other pause stops goes on, some hundred runs a second."""
    who = acting(by)
    if api is not None:
        _alone("--api", run, workflow, tenant, everything)
        why = reason or "over"
        _hold(
            as_json, lambda services: services.apis.release(api, by=who, reason=why),
            sent("release_api", api, reason=why),
        )  # fmt: skip
        return
    if where:
        _alone("--where", run, workflow, tenant, everything)
        many = about_runs(where, None, dry_run=dry_run, yes=yes, detach=detach)
        act_on_many("runs.resume", many, by=who, reason=reason, as_json=as_json)
        return
    scope = _scope(run, workflow, tenant, everything)

    async def act(services: Services) -> Pause:
        found = await services.pausing.find(scope)
        return await services.pausing.resume(found.id, by=who, reason=reason)

    ended = with_services(act, remote=resumed(scope, reason=reason))
    answer(ended, lambda: _draw(ended), as_json=as_json)


def list_pauses(
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended as well.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What is paused, and which APIs are held: since when, by whom, why, until when."""

    async def look(services: Services) -> tuple[Sequence[Pause], list[ApiView]]:
        overview = await services.apis.overview()
        held = [api for api in overview.apis if api.held is not None]
        return await services.pausing.list(active_only=not ended), held

    def elsewhere(client: Client) -> Any:
        state = "all" if ended else "active"
        held = [api for api in listed("apis")(client) if api.held is not None]
        return listed("pauses", state=state)(client), held

    pauses, held = with_services(look, remote=elsewhere)
    value = {"pauses": plain(pauses), "held_apis": [plain(api.held) for api in held]}
    answer(value, lambda: _draw_all(pauses, held), as_json=as_json)


def _scope(run: str | None, workflow: str | None, tenant: str | None, everything: bool) -> Scope:
    from orchestrator.service.pausing import Scope

    given = [run is not None, workflow is not None or tenant is not None, everything]
    if sum(given) != 1:
        found = "nothing" if not any(given) else "several of them"
        wanted = "either a run, or --workflow and --tenant or one of them, or --api, or --all"
        problem = Problem(place="what is meant", found=found, wanted=wanted)
        raise InvalidInput("it is not clear what is meant", problems=[problem])
    return Scope(run_id=run, workflow=workflow, tenant=tenant)


def _alone(name: str, *others: object) -> None:
    if any(others):
        problem = Problem(place=name, found="more options beside it", wanted=f"{name} alone")
        raise InvalidInput("it is not clear what is meant", problems=[problem])


def _hold(as_json: bool, act: Callable[[Services], Awaitable[ApiView]], remote: Remote) -> None:
    from orchestrator.cli.draw_apis import draw_change

    seconds = load_settings().api_reload_seconds
    found = with_services(act, remote=remote)
    answer(found, lambda: draw_change(found, within_seconds=seconds), as_json=as_json)


def _draw(pause: Pause) -> RenderableType:
    if pause.ended_at is not None:
        return Text(f"{pause.scope}: no longer paused; it goes on unless something else stops it")
    lines = [f"{pause.scope}: paused" + ("" if pause.until is None else f" until {pause.until}")]
    if not pause.also_undoing:
        lines.append("runs that turn back go on; --also-undoing would stop them too")
    return Text("\n".join(lines))


def _draw_all(pauses: Sequence[Pause], held: Sequence[ApiView]) -> RenderableType:
    if not pauses and not held:
        return Text("nothing is paused, no API is held", style="dim")
    columns = ("paused", "since", "until", "by", "why", "undoing", "ended")
    drawn = table(*columns, wide=("paused", "why"), spare=("ended", "undoing", "until"))
    for each in pauses:
        drawn.add_row(
            Text(each.scope if each.run_id is None else f"run {short(each.run_id)}"),
            moment(each.since), "–" if each.until is None else moment(each.until), Text(each.by),
            Text(each.reason), "stopped" if each.also_undoing else "goes on",
            Text("–" if each.ended_at is None else f"{moment(each.ended_at)} by {each.ended_by}"),
        )  # fmt: skip
    for api in held:
        assert api.held is not None
        drawn.add_row(
            Text(f"API {api.api} (held)"), moment(api.held.at), "–", Text(api.held.by),
            Text(api.held.reason),
            "stopped", "–",
        )  # fmt: skip
    return Group(drawn)
