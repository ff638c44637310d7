"""Escalations: the inbox, and one with all that is needed to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, short, table
from orchestrator.ports import EscalationRecord
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.api.shapes import EscalationShape
    from orchestrator.service.briefing import Briefing

CHOICES: Mapping[str, str] = {
    "retry": "try it again (after the cause is gone)",
    "resolve": "you have done it, or seen that it is done: go on with the rest",
    "skip": "leave this effect standing: go on with the rest",
    "abandon": "end the run where it is",
}


def draw_escalations(escalations: Sequence[EscalationRecord | EscalationShape]) -> RenderableType:
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
            str(item.reason).replace("_", " "),
            item.claimed_by or ("–" if item.closed_at is None else f"closed: {item.resolution}"),
            short(item.run_id),
            Text(item.detail, overflow="ellipsis", no_wrap=True),
        )
    return drawn


def draw_escalation(item: EscalationRecord, briefing: Briefing | None = None) -> RenderableType:
    """What happened, what is known, and the choices; with a briefing what each leads to."""
    heading = Text.assemble(
        ("▲ ", "bold red"), (item.reason.value.replace("_", " "), "bold"), "  ", item.detail
    )
    from rich.syntax import Syntax  # brings the highlighter; no other command needs it

    context = orjson.dumps(plain(item.context), option=orjson.OPT_INDENT_2).decode()
    parts: list[RenderableType] = [heading, _facts(item, briefing)]
    parts.append(
        Padding(Syntax(context, "json", background_color="default", word_wrap=True), (0, 2))
    )
    parts += [
        Text.assemble((f"{remark.by}, {clock(remark.at)}  ", "dim"), remark.text)
        for remark in (() if briefing is None else briefing.comments)
    ]
    if briefing is not None and briefing.look is not None:
        parts.append(Text.assemble(("look  ", "dim"), briefing.look))
    if item.closed_at is not None:
        parts.append(_closing(item))
    else:
        parts.append(_choices(item))
    if briefing is not None and briefing.choices:
        parts += [_foreseen(briefing), _similar(item, briefing)]
    return Group(*parts)


def _facts(item: EscalationRecord, briefing: Briefing | None) -> RenderableType:
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
    if briefing is not None:
        rows.append(("urgency", f"{briefing.severity.value}, due {clock(briefing.due_at)}"))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    return Padding(grid, (0, 0, 1, 2))


def _choices(item: EscalationRecord) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for verb, meaning in CHOICES.items():
        command = f"orchestrator escalations {verb} {short(item.id)} --reason …"
        grid.add_row(Text(command), Text(meaning, style="dim"))
    return Group(Text("choices", style="bold"), Padding(grid, (0, 0, 0, 2)))


def _foreseen(briefing: Briefing) -> RenderableType:
    """Each choice, the calls that follow if each goes well, and what is left in the end."""
    drawn = table("choice", "what follows", "ends", "stands then", wide=("what follows",))
    for choice in briefing.choices:
        if choice.refused is not None:
            drawn.add_row(Text(choice.name, style="dim"), Text("not possible here", style="dim"))
            continue
        calls = (f"{'? ' if each.asks else ''}{each.label}" for each in choice.links)
        drawn.add_row(
            choice.name, Text(" → ".join(calls) or "–"), choice.status or "",
            ", ".join(choice.standing) or "nothing",
        )  # fmt: skip
    return Padding(drawn, (1, 0, 0, 0))


def _similar(like: EscalationRecord, briefing: Briefing) -> RenderableType:
    if not briefing.similar:
        return Text("no other one like it is open", style="dim")
    where = f"workflow={like.workflow} and reason={like.reason.value}"
    where += f" and step={like.step_id}" if like.step_id else ""
    return Text(f"{briefing.similar:,} more like it are open: --where '{where}'", style="yellow")


def _closing(item: EscalationRecord) -> RenderableType:
    by: Any = item.closed_by or "somebody"
    return Text(
        f"closed: {item.resolution} by {by} at {clock(item.closed_at)}: {item.closing_reason}"
    )
