"""`orchestrator workflows alias …`: names of versions that move."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import moment, table
from orchestrator.cli.elsewhere import Remote, sent
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.service.aliases import Aliases, AliasView

app = typer.Typer(
    help="Names of versions that move: stable, canary with a share of the runs, and your own.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="WORKFLOW")]
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="stable, canary, or your own.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the change.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]


@app.command("set")
def set_alias(
    name: Name,
    alias: Alias,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    *,
    share: Annotated[
        float | None,
        typer.Option(
            min=0, max=100,
            help="Percent of the runs that name no version; for canary. Default: none of them.",
        ),
    ] = None,
    reason: Reason = "",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Have an alias name a version from the next run on.

    Who names no version gets stable, else the latest; of these runs canary takes its share. Runs
    that have begun keep their version.
    """
    who = acting(by)
    elsewhere = sent("set_alias", name, alias, version, share=share, reason=reason)
    _show(
        lambda its: its.set(name, alias, version, share=share, by=who, reason=reason),
        elsewhere, as_json=as_json,
    )  # fmt: skip


@app.command("remove")
def remove_alias(
    name: Name, alias: Alias, *, reason: Reason = "", by: By = "", as_json: JsonFlag = False
) -> None:
    """Have an alias name nothing any more: takes a canary back."""
    who = acting(by)
    elsewhere = sent("remove_alias", name, alias, reason=reason)
    _show(
        lambda its: its.remove(name, alias, by=who, reason=reason), elsewhere, as_json=as_json
    )  # fmt: skip


@app.command("list")
def list_aliases(name: Name, *, as_json: JsonFlag = False) -> None:
    """What the aliases of a workflow name, and who changed them."""
    _show(lambda its: its.show(name), sent("aliases", name), as_json=as_json)


def _show(act: Callable[[Aliases], Awaitable[AliasView]], remote: Remote, *, as_json: bool) -> None:
    told = plain(with_services(lambda services: act(services.aliases), remote=remote))
    answer(told, lambda: _draw(told), as_json=as_json)


def _draw(view: Mapping[str, Any]) -> RenderableType:
    heading = Text.assemble((view["workflow"], "bold"), f"  {who_gets_what(view)}")
    parts: list[RenderableType] = [heading]
    if view["aliases"]:
        drawn = table("alias", "version", "share", "since", "by", "why", wide=("why",))
        for each in view["aliases"]:
            share = f"{each['share']:g} %" if each["share"] else ""
            said = (_moment(each["at"]), each["by"], each["reason"])
            drawn.add_row(each["alias"], str(each["version"]), share, *said)
        parts.append(drawn)
    if view["changes"]:
        drawn = table("when", "alias", "names", "by", "why", wide=("why",))
        for each in view["changes"]:
            drawn.add_row(
                _moment(each["at"]), each["alias"], _named(each), each["by"], each["reason"]
            )
        parts += [Text("changes, newest first", style="bold"), drawn]
    return Group(*parts)


def who_gets_what(view: Mapping[str, Any]) -> str:
    """In words: what runs get that name no version."""
    found = {each["alias"]: each for each in view["aliases"]}
    stable, canary = found.get("stable"), found.get("canary")
    plain_one = f"v{stable['version']}" if stable else f"v{view['latest']}, the latest"
    told = f"who names no version gets {plain_one}"
    if canary and canary["share"]:
        told += f"; {canary['share']:g} % of these runs get v{canary['version']}"
    return told


def _moment(at: str) -> str:
    return moment(datetime.fromisoformat(at))


def _named(change: Mapping[str, Any]) -> str:
    if change["version"] is None:
        return "nothing"
    share = f", {change['share']:g} %" if change["share"] else ""
    return f"v{change['version']}{share}"
