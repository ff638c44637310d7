"""Proposals, for the second person."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, short, table
from orchestrator.ports import Proposal
from orchestrator.telemetry.plain import plain


def draw_proposals(proposals: Sequence[Proposal]) -> RenderableType:
    """Oldest first, one line each."""
    if not proposals:
        return Text("no proposals", style="dim")
    columns = ("id", "made", "until", "workflow", "run", "about", "act", "by", "state", "reason")
    drawn = table(*columns, wide=("reason",), spare=("made", "workflow", "run"))
    for one in proposals:
        drawn.add_row(
            short(one.id), moment(one.proposed_at), moment(one.expires_at), one.workflow,
            short(one.run_id), _about(one), one.act, one.proposed_by, _state(one),
            Text(one.reason, overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return drawn


def draw_proposal(one: Proposal) -> RenderableType:
    """What is wanted, by whom, and what became of it."""
    grid = Table.grid(padding=(0, 2))
    rows = [
        ("id", one.id),
        ("run", f"{one.run_id}  ({one.workflow}, tenant {one.tenant})"),
        ("about", f"{one.subject} {one.subject_id}"),
        ("act", one.act),
        ("by", f"{one.proposed_by}, {clock(one.proposed_at)}: {one.reason}"),
        ("until", clock(one.expires_at)),
        ("state", _state(one)),
    ]
    if one.closing_reason:
        rows.append(("because", one.closing_reason))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    if not one.arguments:
        return grid
    given = orjson.dumps(plain(one.arguments), option=orjson.OPT_INDENT_2).decode()
    return Group(grid, Text("with", style="dim"), Padding(Text(given), (0, 2)))


def _about(one: Proposal) -> str:
    known = one.subject_id if len(one.subject_id) < _LENGTH else short(one.subject_id)
    return f"{one.subject} {known}"


_LENGTH = 36
"""Of an id; an edit is about a step, whose name is shown whole."""


def _state(one: Proposal) -> str:
    return "open" if one.outcome is None else f"{one.outcome} by {one.closed_by}"
