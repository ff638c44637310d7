"""What the demo shows while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestrator.core.states import SETTLED, RunStatus

_LATEST = 6
_PLAIN_SECONDS = 5.0

_SHOWN: tuple[tuple[RunStatus, str], ...] = (
    (RunStatus.SUCCEEDED, "green"),
    (RunStatus.COMPENSATED, "blue"),
    (RunStatus.ESCALATED, "bold red"),
    (RunStatus.RUNNING, "cyan"),
    (RunStatus.COMPENSATING, "blue"),
    (RunStatus.WAITING, "yellow"),
    (RunStatus.PARKED, "yellow"),
    (RunStatus.PENDING, "dim"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A run that did not go through, as a line to show."""

    order_id: str
    status: RunStatus
    cause: str


class LiveProgress:
    """Draws on a terminal; elsewhere prints a line now and then. Use as a context manager."""

    def __init__(self, console: Console, *, total: int, flower_url: str) -> None:
        self._console, self._total, self._flower_url = console, total, flower_url
        self._bar = Progress(
            TextColumn("[bold]runs"), BarColumn(bar_width=40), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("runs", total=total, rate="")
        self._latest: deque[Ended] = deque(maxlen=_LATEST)
        self._counts: Mapping[RunStatus, int] = {}
        self._began: float | None = None
        self._printed = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self._draw(), console=self._console, refresh_per_second=8)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)

    def update(self, counts: Mapping[RunStatus, int]) -> None:
        """Where the runs stand; the rate counts from the first time on."""
        self._counts = counts
        self._began = self._began or time.monotonic()
        settled = sum(number for status, number in counts.items() if status in SETTLED)
        rate = settled / max(time.monotonic() - self._began, 0.001)
        self._bar.update(self._task, completed=settled, rate=f"{rate:,.0f} runs/s")
        self._show(settled, rate)

    def ended(self, run: Ended) -> None:
        """A run was undone or needs a person."""
        self._latest.append(run)

    def _show(self, settled: int, rate: float) -> None:
        if self._live is not None:
            self._live.update(self._draw())
        elif time.monotonic() - self._printed >= _PLAIN_SECONDS or settled == self._total:
            self._printed = time.monotonic()
            self._console.print(f"{settled:,} of {self._total:,} runs settled, {rate:,.0f} runs/s")

    def _draw(self) -> RenderableType:
        where = Text.assemble(("Flower  ", "dim"), self._flower_url or "off")
        return Group(self._bar, self._line(), *self._lines(), where)

    def _line(self) -> RenderableType:
        line = Text()
        for status, style in _SHOWN:
            number = self._counts.get(status, 0)
            if number or status in SETTLED:
                line.append(f"{status} ", style="dim").append(f"{number:,}   ", style=style)
        return line

    def _lines(self) -> list[RenderableType]:
        if not self._latest:
            return []
        table = Table.grid(padding=(0, 2))
        for run in self._latest:
            style = "bold red" if run.status is RunStatus.ESCALATED else "blue"
            cause = Text(run.cause, overflow="ellipsis", no_wrap=True, style="dim")
            table.add_row(run.order_id, Text(run.status, style=style), cause)
        return [table]
