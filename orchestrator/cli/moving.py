"""`orchestrator runs migrate`: waiting runs go on by another version of their workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.differing import change_lines
from orchestrator.cli.draw_common import short, table
from orchestrator.cli.draw_runs import draw_runs
from orchestrator.cli.elsewhere import checked_runs, on
from orchestrator.cli.jobs import (
    Detach,
    RunsWhere,
    Yes,
    about_runs,
    act_on_many,
    require_some,
)
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.service.where import runs_where

if TYPE_CHECKING:
    from orchestrator.errors import Problem
    from orchestrator.service.checking_runs import Checked
    from orchestrator.service.moving import Look, Migration
    from orchestrator.service.rerunning import Rerun, RerunLook

MOST_SHOWN = 20
Try = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would be, and all that stands against it.")
]


def migrate(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Its id, or the last 6 digits or more.")
    ] = None,
    *,
    where: RunsWhere = "",
    to: Annotated[int, typer.Option("--to", min=1, help="The version to go on by.")],
    step: Annotated[
        str | None,
        typer.Option("--at", help="The step to go on at; default: the one at which it waits."),
    ] = None,
    dry_run: Try = False,
    yes: Yes = False,
    detach: Detach = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    by: Annotated[str, typer.Option(help="Who asks; default: you.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """A waiting run, or all that fit, goes on by another version of its workflow.

    What it has done stays what it is, and is undone as the version that did it promised.
    """
    from orchestrator.service.moving import Migration

    wish, who = Migration(to=to, step=step), acting(by)
    if dry_run:
        _dry_run(run, where, wish, as_json=as_json)
        return
    if run is None or where:
        told = {"version": to} | ({} if step is None else {"step": step})
        many = about_runs(where, run, dry_run=False, yes=yes, detach=detach, **told)
        act_on_many("runs.migrate", many, by=who, reason=reason, as_json=as_json)
        return
    record = with_services(
        lambda s: s.moving.migrate(run, wish, by=who, reason=reason),
        remote=on("run", run, "migrate", to, step=step, reason=reason),
    )
    answer(record, lambda: draw_runs([record]), as_json=as_json)


def _dry_run(run: str | None, where: str, wish: Migration, *, as_json: bool) -> None:
    if run is not None:
        look = with_services(
            lambda s: s.moving.look(run, wish),
            remote=on("run", run, "migration", wish.to, step=wish.step),
        )
        answer(look, lambda: _draw(look), as_json=as_json)
        return
    require_some(where)
    which = runs_where(where)
    told: dict[str, object] = {"version": wish.to}
    if wish.step is not None:
        told["step"] = wish.step
    found = with_services(
        lambda s: s.checking_runs.check("migrate", which, told),
        remote=checked_runs("migrate", which, told),
    )
    answer(found, lambda: draw_checked(found, "moved"), as_json=as_json)


def _draw(look: Look) -> RenderableType:
    heading = Text.assemble(
        (f"{look.workflow} v{look.version}", "bold"),
        " → ",
        (f"v{look.to}", "bold"),
        f", run {short(look.run_id)}",
    )
    lines: list[RenderableType] = [heading, *change_lines(look.changes)]
    if look.step:
        waits = "waits on as before" if look.keeps_waiting else "goes on at once"
        lines.append(Text(f"at step {look.step} it {waits}"))
    if look.passed_over:
        lines.append(Text(f"never done of what comes before: {', '.join(look.passed_over)}"))
    if look.left_out:
        lines.append(Text(f"outputs that it will not have: {', '.join(look.left_out)}"))
    lines += _refusals(look.problems)
    if not look.problems:
        lines.append(Text("it can be moved", style="green"))
    return Group(*lines)


def dry_rerun(run: str | None, where: str, wish: Rerun, *, as_json: bool) -> None:
    """What running again would be, of a run or of all that fit."""
    given = {"version": wish.version, "repeat_effects": wish.repeat_effects or None}
    told: dict[str, Any] = {name: each for name, each in given.items() if each is not None}
    if run is not None:
        look = with_services(
            lambda s: s.rerunning.look(wish), remote=on("run", run, "rerun_look", wish.step, **told)
        )
        answer(look, lambda: _draw_rerun(look), as_json=as_json)
        return
    require_some(where)
    which = runs_where(where)
    told["step"] = wish.step
    found = with_services(
        lambda s: s.checking_runs.check("rerun", which, told),
        remote=checked_runs("rerun", which, told),
    )
    answer(found, lambda: draw_checked(found, "run again"), as_json=as_json)


def _draw_rerun(look: RerunLook) -> RenderableType:
    lines: list[RenderableType] = [
        Text.assemble(("run ", "bold"), short(look.run_id), f" again, by version {look.version}"),
        Text(f"takes over: {', '.join(look.takes_over) or 'nothing'}"),
        Text(f"does: {', '.join(look.does)}"),
    ]
    if look.twice:
        lines.append(Text(f"a second time, if effects may be repeated: {', '.join(look.twice)}"))
    lines += _refusals(look.problems)
    if not look.problems:
        lines.append(Text("it can be run again", style="green"))
    return Group(*lines)


def _refusals(problems: Sequence[Problem]) -> Iterator[Text]:
    for each in problems:
        said = f"{each.place}: found {each.found}; wanted {each.wanted}"
        yield Text.assemble(("refused  ", "bold red"), said)


def draw_checked(found: Checked, done: str) -> RenderableType:
    """How many of those that fit can be acted on, and why others cannot."""
    fit = f"{found.fit:,} fit"
    if found.looked_at != found.fit:
        fit += f", the newest {found.looked_at:,} were looked at"
    lines: list[RenderableType] = [
        Text(f"{fit}; {found.can:,} can be {done}, {len(found.refused):,} cannot")
    ]
    if found.refused:
        reasons = Counter(
            (each.found, each.wanted) for one in found.refused for each in one.problems
        )
        drawn = table("runs", "found", "wanted", right=("runs",), wide=("found", "wanted"))
        for (what, wanted), count in reasons.most_common(MOST_SHOWN):
            drawn.add_row(f"{count:,}", Text(what), Text(wanted))
        lines.append(drawn)
        named = ", ".join(short(each.run_id) for each in found.refused[:MOST_SHOWN])
        lines.append(Text(f"refused: {named}", style="dim"))
    return Group(*lines)
