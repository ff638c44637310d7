"""Workflows: the catalogue, and one with its steps and what undoes them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, table
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.ports import WorkflowVersion

_DIGEST_DIGITS = 12


def draw_workflows(versions: Sequence[WorkflowVersion]) -> RenderableType:
    """One line each."""
    if not versions:
        return Text("no workflows; publish one: orchestrator workflows publish FILE", style="dim")
    columns = ("workflow", "version", "steps", "title", "published", "by", "digest")
    drawn = table(*columns, right=("version", "steps"), wide=("title",), spare=("digest", "by"))
    for version in versions:
        drawn.add_row(
            version.workflow,
            str(version.version),
            str(len(version.plan.steps)),
            version.plan.title,
            moment(version.published_at),
            version.published_by,
            version.plan.digest[:_DIGEST_DIGITS],
        )
    return drawn


def draw_workflow(version: WorkflowVersion) -> RenderableType:
    """One version with its steps."""
    signed = f", with a signature of the key {version.key_id}" if version.key_id else ""
    heading = Text.assemble(
        (f"{version.workflow} v{version.version}", "bold"),
        f"  {version.plan.title}\n",
        (f"published {clock(version.published_at)} by {version.published_by}{signed}", "dim"),
    )
    return Group(heading, draw_plan(version.plan))


def draw_plan(plan: Plan) -> RenderableType:
    """The steps of a plan with what undoes each."""
    columns = ("", "step", "calls", "api", "effects", "undone by", "tries")
    drawn = table(
        *columns, right=("", "tries"), wide=("calls", "undone by"), spare=("tries", "api")
    )
    for place, step in enumerate(plan.steps, start=1):
        drawn.add_row(
            str(place),
            step.id + (" (pivot)" if step.pivot else ""),
            step.call.label,
            step.call.api,
            step.call.effects.value,
            _undone_by(step),
            str(step.call.retry.max_attempts),
        )
    return drawn


def _undone_by(step: PlanStep) -> Text:
    if step.compensation:
        return Text(f"{step.compensation.call.label} ({step.compensation.kind.value})")
    return Text(step.no_compensation_reason or "nothing to undo", style="dim")
