"""`orchestrator insights`: what the history of a workflow says about its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import clock
from orchestrator.cli.elsewhere import sent
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from orchestrator.core.insights import Change
    from orchestrator.service.insights import Finding, InsightReport

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW")]
Version = Annotated[int | None, typer.Option(help="Of its versions; default: the newest.")]
Days = Annotated[float, typer.Option(help="How far to look back.")]
Document = Annotated[
    Path | None, typer.Option(help="The workflow's file; default: the one that was published.")
]
Accept = Annotated[str, typer.Option(metavar="ID", help="Write the change of this finding.")]
Publish = Annotated[bool, typer.Option("--publish", help="And publish the workflow's new version.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is written.")]


def insights(
    workflow: Workflow,
    *,
    version: Version = None,
    days: Days = 30.0,
    document: Document = None,
    accept: Accept = "",
    publish: Publish = False,
    yes: Yes = False,
    by: Annotated[str, typer.Option(help="Who accepts; default: you.")] = "",
    reason: Annotated[str, typer.Option(help="Kept where an override is set.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """What its history says: steps and undos that fail, retries in vain, limits that do not fit."""
    found = with_services(
        lambda services: services.insights.of(workflow, version, days=days, document=document),
        remote=None
        if accept or document
        else sent("insights", workflow, version=version, days=days),
    )
    if not accept:
        answer(found, lambda: draw_insights(found), as_json=as_json)
        return
    finding = _chosen(found, accept)
    if not yes:
        typer.echo(finding.diff or f"{finding.undone or finding.said}", err=True)
        typer.confirm("Shall this be written?", abort=True, err=True)
    who = acting(by)
    done = with_services(
        lambda services: services.insights.accept(
            workflow, accept, by=who, reason=reason, diff=finding.diff, version=version,
            days=days, document=document, publish=publish,
        )
    )  # fmt: skip
    where = done.written or "an operator's override"
    more = "" if done.published is None else f", and version {done.published} is published"
    answer(done, lambda: Text(f"written: {where}{more}"), as_json=as_json)


def _chosen(found: InsightReport, wanted: str) -> Finding:
    for each in found.insights:
        if each.id == wanted:
            return each
    listed = ", ".join(each.id for each in found.insights) or "there is none"
    problem = Problem(place="option --accept", found=wanted, wanted=f"one of: {listed}")
    raise InvalidInput("no such finding", problems=[problem])


def draw_insights(found: InsightReport) -> RenderableType:
    """Each finding with its evidence and what to change."""
    head = Text(
        f"{found.workflow} version {found.version}: {found.attempts:,} attempts of"
        f" {found.runs:,} runs since {clock(found.since)}"
    )
    if not found.insights:
        return Group(head, Text("nothing to say"))
    return Group(head, *(part for each in found.insights for part in _told(each)))


def _told(finding: Finding) -> list[RenderableType]:
    evidence = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in finding.evidence.items()
    )
    lines: list[RenderableType] = [
        Text(),
        Text(f"{finding.kind.replace('_', ' ')}: {finding.about}", style="bold"),
        Text(f"  {finding.said}"),
        Text(f"  {evidence}", style="dim"),
        Text(f"  runs {', '.join(finding.runs)}", style="dim"),
    ]
    if finding.change is None:
        return lines
    change = _diff(finding.diff) if finding.diff else _in_words(finding.change, finding.undone)
    return [*lines, *change, Text(f"  --accept {finding.id}" if finding.diff else "", style="dim")]


_STYLES = {"@": "cyan", "-": "red", "+": "green"}


def _diff(diff: str) -> list[RenderableType]:
    return [Text(f"  {line}", style=_STYLES.get(line[:1], "")) for line in diff.splitlines()]


def _in_words(change: Change, undone: str) -> list[RenderableType]:
    return [
        Text(f"  @@ {change.place} @@", style="cyan"),
        Text(f"  - {change.field}: {change.before}", style="red"),
        Text(f"  + {change.field}: {change.after}", style="green"),
        Text(f"  {undone}", style="dim"),
    ]
