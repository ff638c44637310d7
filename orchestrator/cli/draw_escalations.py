"""Escalations: the inbox, and one with all that is needed to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, short, table
from orchestrator.ports import EscalationRecord
from orchestrator.telemetry.plain import plain

CHOICES: Mapping[str, str] = {
    "retry": "try it again (after the cause is gone)",
    "resolve": "you have done it, or seen that it is done: go on with the rest",
    "skip": "leave this effect standing: go on with the rest",
    "abandon": "end the run where it is",
}


def draw_escalations(escalations: Sequence[EscalationRecord]) -> RenderableType:
    """Oldest first, one line each."""
    if not escalations:
        return Text("no escalations", style="dim")
    columns = ("id", "opened", "workflow", "step", "reason", "claimed by", "run", "detail")
    spare = ("run", "opened", "workflow", "claimed by")
    drawn = table(*columns, wide=("workflow", "reason", "detail"), spare=spare)
    for item in escalations:
        drawn.add_row(
            short(item.id),
            moment(item.opened_at),
            item.workflow,
            f"{item.step_id or '–'} ({item.direction.value})",
            item.reason.value.replace("_", " "),
            item.claimed_by or ("–" if item.closed_at is None else f"closed: {item.resolution}"),
            short(item.run_id),
            Text(item.detail, overflow="ellipsis", no_wrap=True),
        )
    return drawn


def draw_escalation(item: EscalationRecord) -> RenderableType:
    """What happened, what is known, and the choices."""
    heading = Text.assemble(
        ("▲ ", "bold red"), (item.reason.value.replace("_", " "), "bold"), "  ", item.detail
    )
    from rich.syntax import Syntax  # brings the highlighter; no other command needs it

    context = orjson.dumps(plain(item.context), option=orjson.OPT_INDENT_2).decode()
    parts: list[RenderableType] = [heading, _facts(item)]
    parts.append(
        Padding(Syntax(context, "json", background_color="default", word_wrap=True), (0, 2))
    )
    parts.append(_choices(item) if item.closed_at is None else _closing(item))
    return Group(*parts)


def _facts(item: EscalationRecord) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [
        ("id", item.id),
        ("run", f"{item.run_id}  ({item.workflow}, tenant {item.tenant})"),
        ("step", f"{item.step_id or '–'}, {item.direction.value}"),
        ("opened", clock(item.opened_at)),
        (
            "claimed",
            f"{item.claimed_by}, {clock(item.claimed_at)}" if item.claimed_by else "by nobody",
        ),
    ]
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    return Padding(grid, (0, 0, 1, 2))


def _choices(item: EscalationRecord) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for verb, meaning in CHOICES.items():
        command = f"orchestrator escalations {verb} {short(item.id)} --reason …"
        grid.add_row(Text(command), Text(meaning, style="dim"))
    return Group(Text("choices", style="bold"), Padding(grid, (0, 0, 0, 2)))


def _closing(item: EscalationRecord) -> RenderableType:
    by: Any = item.closed_by or "somebody"
    return Text(
        f"closed: {item.resolution} by {by} at {clock(item.closed_at)}: {item.closing_reason}"
    )
