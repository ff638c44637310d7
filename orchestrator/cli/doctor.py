"""`orchestrator doctor`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import table
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.service.consistency import DeepLook
    from orchestrator.service.doctor import Check
    from orchestrator.wiring_services import Services

_STYLES = {"good": ("✔", "green"), "warning": ("!", "yellow"), "bad": ("✘", "bold red")}


def doctor(
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also hold the tables of runs against each other.")
    ] = False,
    runs: Annotated[
        int, typer.Option(min=1, max=100_000, help="Of those: the newest so many of each kind.")
    ] = 200,
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Only what can be well before anything runs.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Look at broker, database, clocks, queues and workers; say what to do. Exit code 1 if bad.

    With --deep also at runs under way, escalated and ended: whether row, steps, escalations and
    audit agree. Nothing is locked or stopped.
    """
    if deep:
        _deep(runs, as_json=as_json)
        return
    checks = with_services(lambda services: services.doctor.checks(preflight=preflight))
    answer(checks, lambda: _draw(checks), as_json=as_json)
    if any(check.verdict == "bad" for check in checks):
        raise typer.Exit(1)


def _deep(most: int, *, as_json: bool) -> None:
    async def look(services: Services) -> tuple[list[Check], DeepLook]:
        return await services.doctor.checks(), await services.consistency.look(most=most)

    checks, found = with_services(look)
    answer(
        {"checks": checks, "deep": found}, lambda: Group(_draw(checks), _draw_deep(found)),
        as_json=as_json,
    )  # fmt: skip
    if found.found or any(check.verdict == "bad" for check in checks):
        raise typer.Exit(1)


def _draw_deep(look: DeepLook) -> RenderableType:
    moving = f"; {look.moving:,} moved on whenever they were read" if look.moving else ""
    if not look.found:
        return Text(f"{look.runs:,} runs agree with themselves{moving}")
    wide = ("found", "wanted", "what to do")
    drawn = table("run", "place", *wide, wide=wide)
    for each in look.found:
        drawn.add_row(*map(Text, (each.run, each.place, each.found, each.wanted, each.do)))
    return Group(Text(f"{look.runs:,} runs looked at{moving}; these do not agree:"), drawn)


def _draw(checks: Sequence[Check]) -> RenderableType:
    drawn = table("", "check", "found", "what to do", wide=("found", "what to do"))
    for check in checks:
        glyph, style = _STYLES[check.verdict]
        drawn.add_row(
            Text(glyph, style=style),
            Text(check.name),
            Text(check.found, style="" if check.verdict == "good" else style),
            Text(check.do),
        )
    return drawn
