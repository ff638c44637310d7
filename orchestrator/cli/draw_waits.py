"""Signals and approvals, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, short, table
from orchestrator.ports import SignalReceipt, SignalRecord, WaitRecord
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.api.wait_shapes import SignalShape


def draw_signal(receipt: SignalReceipt | SignalShape) -> RenderableType:
    """What became of it."""
    if isinstance(receipt, SignalReceipt):
        signal: SignalRecord | SignalShape = receipt.signal
        wait_id = receipt.signal.wait_id
    else:
        signal, wait_id = receipt, receipt.answers
    what = "is the answer that the run waited for" if wait_id else "is kept for the run"
    again = " (it was sent before; nothing has changed)" if receipt.repeated else ""
    return Text(f"signal {signal.name} number {signal.number} of run {signal.run_id} {what}{again}")


def draw_approvals(approvals: Sequence[WaitRecord]) -> RenderableType:
    """Oldest first, one line each."""
    if not approvals:
        return Text("no approvals", style="dim")
    columns = ("id", "opened", "expires", "workflow", "step", "run", "state", "message")
    spare = ("run", "opened", "workflow")
    drawn = table(*columns, wide=("workflow", "message"), spare=spare)
    for item in approvals:
        drawn.add_row(
            short(item.id), moment(item.opened_at), moment(item.expires_at), item.workflow,
            item.step_id, short(item.run_id), state_of(item),
            Text(str(item.asked.get("message", "")), overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return drawn


def state_of(item: WaitRecord) -> str:
    """`open`, or what was decided and by whom."""
    if item.outcome is None:
        return "open"
    return item.outcome.value + (f" by {item.closed_by}" if item.closed_by else "")


def draw_approval(item: WaitRecord) -> RenderableType:
    """What is asked, what is shown beside it, and what was decided."""
    grid = Table.grid(padding=(0, 2))
    rows = [
        ("id", item.id),
        ("run", f"{item.run_id}  ({item.workflow}, tenant {item.tenant})"),
        ("step", item.step_id),
        ("opened", clock(item.opened_at)),
        ("expires", clock(item.expires_at) if item.expires_at else "never"),
        ("roles", ", ".join(item.asked.get("roles", ())) or "whoever may decide"),
        ("state", state_of(item)),
    ]
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [
        Text(str(item.asked.get("message", "")), style="bold"), Padding(grid, (0, 0, 1, 2)),
    ]  # fmt: skip
    for title, given in (("shown", item.asked.get("show")), ("answer", item.answer)):
        if given:
            text = orjson.dumps(plain(given), option=orjson.OPT_INDENT_2).decode()
            parts += [Text(title, style="dim"), Padding(Text(text), (0, 2))]
    return Group(*parts)
