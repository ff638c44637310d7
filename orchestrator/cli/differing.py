"""`orchestrator workflows diff`: what tells two versions apart, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.core.differing import Change
    from orchestrator.service.comparing import Compared


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="WORKFLOW, WORKFLOW@3, WORKFLOW@stable, or a document's path."
        ),
    ],
    after: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="Likewise. Default: A beside the version before it."),
    ] = None,
    *,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 when something differs.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What tells B from A, in words: published versions, or what would be published.

    ▲ marks what changes a promise: what is undone, what may be repeated, from where on a run no
    longer turns back, what has to be given and what comes back.
    """
    found = with_services(lambda services: services.comparing.compared(before, after))
    answer(found, lambda: _draw(found), as_json=as_json)
    if exit_code and found.changes:
        raise typer.Exit(1)


def _draw(found: Compared) -> RenderableType:
    heading = Text.assemble((found.before, "bold"), " → ", (found.after, "bold"))
    if not found.changes:
        return Group(heading, Text("nothing differs", style="dim"))
    kept = "runs that have begun keep the version that they began with, unless they are migrated"
    return Group(heading, *change_lines(found.changes), Text(kept, style="dim"))


def change_lines(changes: Sequence[Change]) -> list[Text]:
    """What differs, the very same changes of several places together."""
    lines = []
    for said, places in _by_what(changes).items():
        lines.append(Text(", ".join(places), style="cyan"))
        for what, weighs in said:
            mark = ("▲ ", "bold yellow") if weighs else "  "
            lines.append(Text.assemble("  ", mark, what))
    return lines


def _by_what(changes: Sequence[Change]) -> dict[tuple[tuple[str, bool], ...], list[str]]:
    """Places with the very same changes stand together, where the first of them stands."""
    found: dict[tuple[tuple[str, bool], ...], list[str]] = {}
    for where, there in groupby(changes, key=lambda each: each.where):
        said = tuple((each.what, each.weighs) for each in there)
        found.setdefault(said, []).append(where)
    return found
