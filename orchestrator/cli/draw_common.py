"""Glyphs, colours, durations and ids: how the same thing looks the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Column, Table
from rich.text import Text

from orchestrator.core.exchange import Outcome
from orchestrator.core.states import LinkStatus, RunStatus

_BETWEEN = 3  # padding and gap of a column
_EDGES = 2
_FOLDED_WIDTH = 16

RUN_STYLES: Mapping[RunStatus, tuple[str, str]] = {
    RunStatus.PENDING: ("·", "dim"),
    RunStatus.RUNNING: ("▶", "cyan"),
    RunStatus.WAITING: ("◔", "yellow"),
    RunStatus.PARKED: ("‖", "yellow"),
    RunStatus.PAUSED: ("‖", "magenta"),
    RunStatus.COMPENSATING: ("◀", "blue"),
    RunStatus.ESCALATED: ("▲", "bold red"),
    RunStatus.SUCCEEDED: ("✔", "green"),
    RunStatus.COMPENSATED: ("↩", "blue"),
    RunStatus.ABANDONED: ("■", "red"),
}
LINK_STYLES: Mapping[LinkStatus, tuple[str, str]] = {
    LinkStatus.PENDING: ("·", "dim"),
    LinkStatus.STARTED: ("▶", "cyan"),
    LinkStatus.LANDED: ("✔", "green"),
    LinkStatus.FAILED: ("✘", "red"),
    LinkStatus.UNKNOWN: ("?", "bold red"),
    LinkStatus.NOT_NEEDED: ("–", "dim"),
    LinkStatus.RESOLVED: ("✔", "magenta"),
    LinkStatus.SKIPPED: ("»", "magenta"),
    LinkStatus.HANDLED: ("↷", "yellow"),
}
OUTCOME_STYLES: Mapping[Outcome, tuple[str, str]] = {
    Outcome.LANDED: ("✔", "green"),
    Outcome.NOT_LANDED: ("✘", "red"),
    Outcome.UNKNOWN: ("?", "bold red"),
}


def run_status(status: RunStatus) -> Text:
    """A run's status with its glyph."""
    glyph, style = RUN_STYLES[status]
    return Text(f"{glyph} {status.value}", style=style)


def link_status(status: LinkStatus, standing: str) -> Text:
    """How a link stands, with the glyph of its status."""
    glyph, style = RUN_STYLES[RunStatus.WAITING] if standing == "waiting" else LINK_STYLES[status]
    return Text(f"{glyph} {standing}", style=style)


def outcome(value: Outcome) -> Text:
    """An attempt's outcome with its glyph."""
    glyph, style = OUTCOME_STYLES[value]
    return Text(f"{glyph} {value.value.replace('_', ' ')}", style=style)


def table(
    *columns: str,
    right: tuple[str, ...] = (),
    wide: tuple[str, ...] = (),
    spare: tuple[str, ...] = (),
) -> Table:
    """An empty table in the house's look.

    Columns named in `right` hold numbers. In a narrow terminal those in `wide` are folded; if
    that is not enough, those in `spare` are left out, the first one first.
    """
    made = FittingTable(spare)
    for column in columns:
        side: JustifyMethod = "right" if column in right else "left"
        made.add_column(column, justify=side, no_wrap=column not in wide, overflow="fold")
    return made


class FittingTable(Table):
    """A table that leaves columns out rather than cut what must be copied whole, such as ids."""

    def __init__(self, spare: tuple[str, ...]) -> None:
        super().__init__(box=SIMPLE_HEAD)
        self._spare = spare

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what fits."""
        fitted = copy(self)
        room = options.max_width - _EDGES
        for name in self._spare:
            if sum(_least_width(column) for column in fitted.columns) <= room:
                break
            fitted.columns = [column for column in fitted.columns if column.header != name]
        fitted.columns = _with_widths(fitted.columns, room)
        yield from Table.__rich_console__(fitted, console, options)


def _with_widths(columns: Sequence[Column], room: int) -> list[Column]:
    """Copies with fixed widths: folded columns share what the others leave.

    Left to itself, the table would cut a little off every column when it is too wide.
    """
    sized = [copy(column) for column in columns]
    left = room - sum(_BETWEEN + _widest(c) for c in sized if c.no_wrap)
    folded = sorted((column for column in sized if not column.no_wrap), key=_widest)
    for count, column in zip(range(len(folded), 0, -1), folded, strict=True):
        column.width = max(1, min(_widest(column), left // count - _BETWEEN))
        left -= column.width + _BETWEEN
    return sized


def _least_width(column: Column) -> int:
    """Characters that a column needs with its padding; a folded one is happy with a few."""
    widest = _widest(column)
    return _BETWEEN + (widest if column.no_wrap else min(widest, _FOLDED_WIDTH))


def _widest(column: Column) -> int:
    return max(cell_len(str(cell)) for cell in (column.header, *column.cells))


def duration(seconds: float | None) -> str:
    """`12 ms`, `1.24 s`, `3 min 5 s`, `2 h 10 min`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def between(start: datetime | None, end: datetime | None) -> str:
    """The time from start to end as a duration; a dash where one is missing."""
    return duration((end - start).total_seconds()) if start and end else "–"


def clock(when: datetime | None) -> str:
    """Local date and time to the second; a dash for None."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else "–"


def moment(when: datetime | None) -> str:
    """The same without the year, for lists."""
    return when.astimezone().strftime("%m-%d %H:%M:%S") if when else "–"


def short(identifier: str) -> str:
    """The last 12 digits of an id. A UUIDv7 begins with its time, so only its tail tells apart."""
    return identifier[-12:]
