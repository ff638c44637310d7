"""`orchestrator insights`: what the history of a workflow says about its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import clock
from orchestrator.cli.elsewhere import sent
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.core.insights import Change, Insight
    from orchestrator.service.insights import InsightReport

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW")]
Version = Annotated[int | None, typer.Option(help="Of its versions; default: the newest.")]
Days = Annotated[float, typer.Option(help="How far to look back.")]


def insights(
    workflow: Workflow, *, version: Version = None, days: Days = 30.0, as_json: JsonFlag = False
) -> None:
    """What its history says: steps and undos that fail, retries in vain, limits that do not fit."""
    found = with_services(
        lambda services: services.insights.of(workflow, version, days=days),
        remote=sent("insights", workflow, version=version, days=days),
    )
    answer(found, lambda: draw_insights(found), as_json=as_json)


def draw_insights(found: InsightReport) -> RenderableType:
    """Each finding with its evidence and what to change."""
    head = Text(
        f"{found.workflow} version {found.version}: {found.attempts:,} attempts of"
        f" {found.runs:,} runs since {clock(found.since)}"
    )
    if not found.insights:
        return Group(head, Text("nothing to say"))
    return Group(head, *(part for each in found.insights for part in _told(each)))


def _told(insight: Insight) -> list[RenderableType]:
    evidence = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in insight.evidence.items()
    )
    lines: list[RenderableType] = [
        Text(),
        Text(f"{insight.kind.replace('_', ' ')}: {insight.about}", style="bold"),
        Text(f"  {insight.said}"),
        Text(f"  {evidence}", style="dim"),
    ]
    return [*lines, *([] if insight.change is None else _diff(insight.change))]


def _diff(change: Change) -> list[RenderableType]:
    return [
        Text(f"  @@ {change.place} @@", style="cyan"),
        Text(f"  - {change.field}: {change.before}", style="red"),
        Text(f"  + {change.field}: {change.after}", style="green"),
    ]
