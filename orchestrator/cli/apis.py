"""`orchestrator apis …`: how APIs may be used, and changes of that while workers run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from orchestrator.cli.draw_apis import draw_api, draw_apis, draw_change, draw_states
from orchestrator.cli.draw_impact import draw_impact
from orchestrator.cli.elsewhere import Remote, listed, sent
from orchestrator.cli.output import JsonFlag, answer, print_json
from orchestrator.cli.session import acting, as_look, with_services
from orchestrator.cli.spans import span_of
from orchestrator.errors import InvalidInput, Problem
from orchestrator.service.impact import LONGEST_OUTAGE_SECONDS
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.service.apis import ApiOverview, Apis, ApiView

app = typer.Typer(
    help="How APIs may be used: look, change it while workers run, stop one.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The API, as in config/apis.")]
Changes = Annotated[
    list[str],
    typer.Argument(
        metavar="FIELD=VALUE…",
        help="As in a file: rate='50/second; 900/minute' concurrency=20 weights.acme=3; "
        "rate= for no rate at all",
    ),
]
Fields = Annotated[
    list[str] | None, typer.Argument(metavar="[FIELD…]", help="Those alone; default: all.")
]
Reason = Annotated[str, typer.Option(help="Why; kept with the change.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]


@app.command("list")
def list_apis(*, as_json: JsonFlag = False) -> None:
    """Every API that has a file, was changed, or is called by a published workflow."""
    found = with_services(lambda services: services.apis.overview(), remote=_overview)
    answer(found, lambda: draw_apis(found), as_json=as_json)


@app.command("state")
def state(*, as_json: JsonFlag = False) -> None:
    """How all stand at the gate now: breaker, calls of the last seconds, pace, slots, waiting."""
    found = with_services(lambda services: services.apis.states(), remote=_states)
    answer(found, lambda: draw_states(found), as_json=as_json)


@app.command("show")
def show(name: Name, *, as_json: JsonFlag = False) -> None:
    """One: what holds, where each value comes from, and what was changed."""
    _show(lambda apis: apis.show(name), sent("api", name), as_json)


@app.command("set")
def set_fields(
    name: Name, changes: Changes, *, reason: Reason, by: By = "", as_json: JsonFlag = False
) -> None:
    """Override fields of its file, in all workers, within seconds; until `reset`."""
    values = _values(changes)
    who = acting(by)
    _change(
        lambda apis: apis.set(name, values, by=who, reason=reason),
        sent("change_api", name, set=values, reason=reason), as_json,
    )  # fmt: skip


@app.command("reset")
def reset(
    name: Name,
    fields: Fields = None,
    *,
    reason: Reason = "back to the file",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Take overrides back; what the file says holds again."""
    who = acting(by)
    _change(
        lambda apis: apis.reset(name, fields or (), by=who, reason=reason),
        lambda client: _reset(client, name, fields, reason), as_json,
    )  # fmt: skip


@app.command("hold")
def hold(name: Name, *, reason: Reason, by: By = "", as_json: JsonFlag = False) -> None:
    """Let nothing leave for it, undos neither; runs that need it park and do not fail."""
    who = acting(by)
    _change(
        lambda apis: apis.hold(name, by=who, reason=reason),
        sent("hold_api", name, reason=reason), as_json,
    )  # fmt: skip


@app.command("release")
def release(name: Name, *, reason: Reason, by: By = "", as_json: JsonFlag = False) -> None:
    """End a hold; parked runs come back at once, the last of them within a minute."""
    who = acting(by)
    _change(
        lambda apis: apis.release(name, by=who, reason=reason),
        sent("release_api", name, reason=reason), as_json,
    )  # fmt: skip


@app.command("impact")
def impact(
    name: Name,
    *,
    outage: Annotated[str, typer.Option(help="What if it is away so long: 45s, 30m, 2h.")] = "1h",
    as_json: JsonFlag = False,
) -> None:
    """Which runs wait for it, will need it, have used it, and would undo through it."""
    seconds = span_of(outage, place="option --outage").total_seconds()
    if not 0 < seconds <= LONGEST_OUTAGE_SECONDS:
        problem = Problem(place="option --outage", found=outage, wanted="more than 0, up to 365d")
        raise InvalidInput("the outage is not a possible one", problems=[problem])
    found = with_services(
        as_look(lambda services: services.impacts.of(name, outage_seconds=seconds)),
        remote=sent("impact", name, outage_seconds=seconds),
    )
    answer(found, lambda: draw_impact(found), as_json=as_json)


@app.command("health")
def health(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One; default: all that were called.")
    ] = None,
    *,
    minutes: Annotated[float, typer.Option(help="How far back “now” reaches.")] = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """How they are, of all workers: latency, failures, waits, beside how they usually are."""
    from orchestrator.cli.draw_health import draw_health

    found = with_services(
        as_look(lambda services: services.api_health.of(name, minutes=minutes)),
        remote=sent("api_health", api=name, minutes=minutes),
    )
    answer(found, lambda: draw_health(found), as_json=as_json)


@app.command("schema")
def schema() -> None:
    """The JSON schema of a file in config/apis, for editors."""
    from orchestrator.engine.api_document import api_schema

    print_json(api_schema())


def _overview(client: Client) -> ApiOverview:
    from orchestrator.service.apis import ApiOverview

    return ApiOverview(apis=tuple(listed("apis")(client)), problems=())


def _states(client: Client) -> dict[str, Any]:
    return {each.api: each for each in listed("gate")(client)}


def _reset(client: Client, name: str, fields: Sequence[str] | None, reason: str) -> Any:
    """Those alone, else all that are overridden."""
    changed = [each.name for each in sent("api", name)(client).fields if each.change is not None]
    return sent("change_api", name, reset=fields or changed, reason=reason)(client)


def _change(act: Callable[[Apis], Awaitable[ApiView]], remote: Remote, as_json: bool) -> None:
    seconds = load_settings().api_reload_seconds
    found = with_services(lambda services: act(services.apis), remote=remote)
    answer(found, lambda: draw_change(found, within_seconds=seconds), as_json=as_json)


def _show(act: Callable[[Apis], Awaitable[ApiView]], remote: Remote, as_json: bool) -> None:
    found = with_services(lambda services: act(services.apis), remote=remote)
    answer(found, lambda: draw_api(found), as_json=as_json)


def _values(changes: Sequence[str]) -> dict[str, Any]:
    """`rate=50/second` as {"rate": "50/second"}; values are written as in a file."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for change in changes:
        field, equals, text = change.partition("=")
        place = f"set {field}"
        if not equals or not field:
            problems.append(Problem(place=place, found=change, wanted="FIELD=VALUE"))
        elif field in values:
            problems.append(Problem(place=place, found="a second one", wanted="each field once"))
        else:
            try:
                values[field] = yaml.safe_load(text)
            except yaml.YAMLError:
                wanted = "a value as in a file"
                problems.append(Problem(place=place, found=repr(text), wanted=wanted))
    if problems:
        raise InvalidInput("the change is not valid", problems=problems)
    return values
