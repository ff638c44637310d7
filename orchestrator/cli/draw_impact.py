"""The blast radius of an API for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import duration, table
from orchestrator.service.impact import Counts, Impact

_SHOWN = 15
_WHAT_IF = ("waiting", "turning_back", "escalating", "undo_waiting")


def draw_impact(found: Impact) -> RenderableType:
    """Totals in words, then a table by workflow and one by tenant."""
    total = found.total
    lines: list[RenderableType] = [
        Text(f"{total.affected:,} of {found.active:,} runs need {found.api}", style="bold"),
        Text(f"  {total.blocked:,} at it now, {total.parked:,} of them parked"),
        Text(f"  {total.ahead:,} will come to it, {total.past:,} have used it"),
        Text(f"  {total.undo:,} go back, or would, through it"),
        Text(f"away for {duration(found.outage_seconds)}:", style="bold"),
        Text(f"  {total.waiting:,} would wait for it"),
        Text(f"  {total.turning_back:,} would reach their deadline and turn back"),
        Text(f"  {total.escalating:,} would reach it past their pivot, for a person to decide"),
        Text(f"  {total.undo_waiting:,} could not finish going back"),
    ]
    return Group(*lines, *_table("workflow", found.by_workflow), *_table("tenant", found.by_tenant))


def _table(what: str, found: Mapping[str, Counts]) -> list[RenderableType]:
    if not found:
        return []
    names = [field.name for field in fields(Counts)]
    drawn = table(
        what, *(name.replace("_", " ") for name in names),
        right=tuple(name.replace("_", " ") for name in names), wide=(what,),
        spare=tuple(name.replace("_", " ") for name in _WHAT_IF),
    )  # fmt: skip
    for name, counts in list(found.items())[:_SHOWN]:
        drawn.add_row(name, *(f"{getattr(counts, each):,}" for each in names))
    more = len(found) - _SHOWN
    return [drawn, *([Text(f"and {more} more (--json)", style="dim")] if more > 0 else [])]
