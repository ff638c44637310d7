"""`orchestrator slo`: how workflows stand against their objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import duration, moment, table
from orchestrator.cli.elsewhere import sent
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import as_look, with_services
from orchestrator.core.slo import DAY, HOUR, budget_left

if TYPE_CHECKING:
    from orchestrator.ports.slo import AlarmRecord
    from orchestrator.service.slos import SloReport, SloView

Workflow = Annotated[str | None, typer.Argument(help="This one alone; default: all.")]


def slo(workflow: Workflow = None, *, as_json: JsonFlag = False) -> None:
    """Objectives of workflows: what is left of their error budgets, burn rates, alarms."""
    found = with_services(
        as_look(lambda services: services.slos.report(workflow)),
        remote=sent("slos", workflow=workflow),
    )
    answer(found, lambda: draw_slos(found), as_json=as_json)


def draw_slos(found: SloReport) -> RenderableType:
    """A line for each objective, and one for each alarm of the last days."""
    if not found.views:
        return Text("no workflow is published, and config/slos.yaml names none")
    numbers = ("target", "good", "bad", "budget left", "burning 1 h", "6 h", "3 d")
    drawn = table(
        "workflow", "objective", "said in", *numbers, "alarm", right=numbers, wide=("workflow",),
        spare=("6 h", "good", "said in"),
    )  # fmt: skip
    for view in found.views:
        drawn.add_row(*_cells(view))
    return Group(drawn, *[_alarm(each) for each in found.alarms])


def _cells(view: SloView) -> list[str | Text]:
    objective, counts = view.objective, view.counts
    budget = counts[objective.window_days * DAY]
    what = objective.kind.value
    if objective.seconds is not None:
        what += f" {duration(objective.seconds)}"
    burning = [f"{view.burn_rates[seconds]:.1f}×" for seconds in (HOUR, 6 * HOUR, 3 * DAY)]
    left = budget_left(view.budget_used, budget.total)
    alarm = ", ".join(sorted(each.urgency for each in view.alarms))
    return [
        objective.workflow, what, objective.source, f"{objective.target:.4g}", f"{budget.good:,}",
        f"{budget.bad:,}", Text(left, style="bold red" if view.budget_used > 1 else ""),
        *burning, Text(alarm or "–", style="bold red" if alarm else "dim"),
    ]  # fmt: skip


def _alarm(alarm: AlarmRecord) -> Text:
    ended = "still burning" if alarm.closed_at is None else f"until {moment(alarm.closed_at)}"
    return Text(
        f"{alarm.urgency} since {moment(alarm.opened_at)}, {ended}: {alarm.workflow}"
        f" {alarm.kind}, {alarm.bad:,} of {alarm.total:,} bad within"
        f" {duration(alarm.long_seconds)} ({alarm.burn_rate:.1f}×)",
        style="bold red" if alarm.closed_at is None else "dim",
    )
