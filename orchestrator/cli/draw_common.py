"""Glyphs, colours, durations and ids: how the same thing looks the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from orchestrator.core.exchange import Outcome
from orchestrator.core.states import LinkStatus, RunStatus

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


def link_status(status: LinkStatus) -> Text:
    """A link's status with its glyph."""
    glyph, style = LINK_STYLES[status]
    return Text(f"{glyph} {status.value.replace('_', ' ')}", style=style)


def outcome(value: Outcome) -> Text:
    """An attempt's outcome with its glyph."""
    glyph, style = OUTCOME_STYLES[value]
    return Text(f"{glyph} {value.value.replace('_', ' ')}", style=style)


def table(*columns: str, right: tuple[str, ...] = (), wide: tuple[str, ...] = ()) -> Table:
    """An empty table in the house's look.

    Columns named in `right` hold numbers; only those in `wide` give way in a narrow terminal.
    """
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        side: JustifyMethod = "right" if column in right else "left"
        made.add_column(column, justify=side, no_wrap=column not in wide, overflow="fold")
    return made


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
