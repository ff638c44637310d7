"""What the demo says at the end: one table for people, one object for machines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.core.states import RunStatus
from orchestrator.demo.reconcile import RunView, Verdict
from orchestrator.demo.worlds import Done

_SHOWN_FINDINGS = 10
_ZEROS = (
    "lost",
    "orphaned_effects",
    "duplicate_effects",
    "out_of_order_compensations",
    "unexpected_endings",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """The demo's result; its fields are those of the printed JSON object."""

    runs: int
    succeeded: int
    compensated: int
    escalated: int
    abandoned: int
    lost: int
    orphaned_effects: int
    duplicate_effects: int
    out_of_order_compensations: int
    unexpected_endings: int
    peak_concurrent_runs: int
    seconds: float
    runs_per_second: float

    @property
    def clean(self) -> bool:
        """Whether every zero is zero."""
        return not any(getattr(self, name) for name in _ZEROS)

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What is printed beside the totals."""

    flower_url: str = ""
    percentiles: Mapping[str, float] = field(default_factory=dict)  # "p50" -> seconds
    worker_memory: Mapping[str, int | None] = field(default_factory=dict)  # peak bytes by name
    acts: Sequence[Done] = ()  # what the operator did about dead letters
    samples: Mapping[RunStatus, str] = field(default_factory=dict)  # a run id for each ending
    kept: bool = False


def totals(views: Mapping[str, RunView], verdict: Verdict, *, peak: int, seconds: float) -> Totals:
    """Count the endings. `seconds` from the first submission to the last ending."""
    endings = Counter(view.status for view in views.values())
    settled = {
        name: endings[RunStatus(name)]
        for name in ("succeeded", "compensated", "escalated", "abandoned")
    }
    runs = sum(settled.values()) + verdict.lost
    return Totals(
        runs=runs,
        **settled,
        **{name: getattr(verdict, name) for name in _ZEROS},
        peak_concurrent_runs=peak,
        seconds=round(seconds, 3),
        runs_per_second=round(runs / seconds, 1) if seconds else 0.0,
    )


def percentiles(durations: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99 by nearest rank; nothing of nothing."""
    ordered = sorted(durations)
    if not ordered:
        return {}
    ranks = {f"p{p}": math.ceil(p / 100 * len(ordered)) for p in (50, 95, 99)}
    return {name: ordered[rank - 1] for name, rank in ranks.items()}


def run_seconds(intervals: Iterable[tuple[datetime, datetime | None]]) -> list[float]:
    """How long each took from its first claim to its ending."""
    return [(end - begin).total_seconds() for begin, end in intervals if end is not None]


def draw(result: Totals, verdict: Verdict, around: Surroundings) -> RenderableType:
    """The end of the demo, for people."""
    return Group(
        _endings(result),
        _proof(result),
        *_findings(verdict),
        _numbers(result, around),
        *_acts(around.acts),
        _where_next(around),
    )


def _endings(result: Totals) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("runs", "succeeded", "compensated", "escalated", "abandoned"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{result.runs:,}",
        Text(f"{result.succeeded:,}", style="green"),
        Text(f"{result.compensated:,}", style="blue"),
        Text(f"{result.escalated:,}", style="bold red" if result.escalated else ""),
        f"{result.abandoned:,}",
    )
    return table


def _proof(result: Totals) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name in _ZEROS:
        count = getattr(result, name)
        mark = Text("✔", style="green") if count == 0 else Text("✘", style="bold red")
        grid.add_row(mark, Text(f"{count:,}", justify="right"), name.replace("_", " "))
    heading = (
        Text("Every run against the server's own records and journal: nothing is amiss.", "green")
        if result.clean
        else Text(
            "Every run against the server's own records and journal: it does not add up.", "red"
        )
    )
    return Group(heading, grid, "")


def _findings(verdict: Verdict) -> Iterable[RenderableType]:
    for finding in verdict.findings[:_SHOWN_FINDINGS]:
        yield Text(f"  {finding.kind}  {finding.order_id}: {finding.detail}", style="red")
    hidden = len(verdict.findings) - _SHOWN_FINDINGS
    if hidden > 0:
        yield Text(f"  … and {hidden:,} more", style="red")


def _numbers(result: Totals, around: Surroundings) -> RenderableType:
    spread = ", ".join(f"{name} {value:.2f} s" for name, value in around.percentiles.items())
    memory = ", ".join(
        f"{name} {peak / 2**20:.0f} MiB"
        for name, peak in around.worker_memory.items()
        if peak is not None
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row("throughput", f"{result.runs_per_second:,.1f} runs/s ({result.seconds:.1f} s)")
    grid.add_row("one run took", spread or "–")
    grid.add_row("at once", f"{result.peak_concurrent_runs:,} runs at the peak")
    grid.add_row("peak memory", memory or "–")
    return Group(grid, "")


def _acts(acts: Sequence[Done]) -> Iterable[RenderableType]:
    if not acts:
        return
    grid = Table.grid(padding=(0, 2))
    for act in acts:
        grid.add_row(act.way, f"run …{_tail(act.run_id)}", f"now {act.expected.status}")
    yield Group(Text("What the operator did about dead letters", style="bold"), grid, "")


def _where_next(around: Surroundings) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    if not around.kept:
        grid.add_row(
            "orchestrator demo --keep", Text("leaves all of it up, and then:", style="dim")
        )
    for status, run_id in around.samples.items():
        shown = _tail(run_id) if around.kept else "RUN"
        grid.add_row(f"orchestrator runs show {shown}", Text(f"one that {_said(status)}", "dim"))
        if not around.kept:
            break
    grid.add_row("orchestrator escalations list", Text("the dead letters", style="dim"))
    grid.add_row(around.flower_url, Text("Flower", style="dim"))
    return Group(Text("Where to look next", style="bold"), grid)


def _said(status: RunStatus) -> str:
    return {
        RunStatus.SUCCEEDED: "succeeded",
        RunStatus.COMPENSATED: "was undone",
        RunStatus.ESCALATED: "needs a person",
        RunStatus.ABANDONED: "was abandoned",
    }.get(status, f"is {status}")


def _tail(identifier: str) -> str:
    """The last 12 digits: an id begins with its time, so only its tail tells apart."""
    return identifier[-12:]
