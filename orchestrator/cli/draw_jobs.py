"""Jobs: the list, and one with what came of its things."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import clock, moment, short, table
from orchestrator.ports import JobItemRecord, JobRecord, JobState
from orchestrator.telemetry.plain import plain

_STYLES = {
    JobState.RUNNING: "cyan", JobState.PAUSED: "yellow", JobState.CANCELLED: "red",
    JobState.DONE: "green",
}  # fmt: skip


def draw_jobs(jobs: Sequence[JobRecord]) -> RenderableType:
    """Newest first, one line each."""
    if not jobs:
        return Text("no jobs", style="dim")
    columns = ("id", "started", "act", "state", "done", "refused", "of", "by", "reason")
    drawn = table(*columns, wide=("act", "reason"), spare=("started", "by"))
    for job in jobs:
        drawn.add_row(
            short(job.id), moment(job.created_at), job.kind, _state(job), f"{job.done:,}",
            f"{job.refused:,}", f"{job.total:,}", job.by,
            Text(job.reason, overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return drawn


def draw_job(job: JobRecord, items: Sequence[JobItemRecord]) -> RenderableType:
    """Who wants what, how far it is, what was ordered since, and some of its things."""
    where = " and ".join(f"{name}={value}" for name, value in job.where.items())
    grid = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str | Text]] = [
        ("job", job.id),
        ("act", job.kind),
        ("on", where or "all that are open"),
        ("by", f"{job.by}, {clock(job.created_at)}: {job.reason}"),
        ("state", _state(job)),
        ("done", f"{job.done:,} of {job.total:,}; {job.refused:,} refused{_proposed(job)}"),
    ]
    rows += [
        (str(told["order"]), f"{told['by']}, {told['at']}: {told['reason']}")
        for told in plain(job.orders)
    ]
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value))
    if not items:
        return grid
    drawn = table("thing", "stands", "what came of it", wide=("what came of it",))
    for item in items:
        drawn.add_row(short(item.item), item.state.value, Text(item.outcome))
    return Group(grid, Padding(drawn, (1, 0, 0, 0)))


def _proposed(job: JobRecord) -> str:
    return f"; {job.proposed:,} of the done are proposals to confirm" if job.proposed else ""


def _state(job: JobRecord) -> Text:
    return Text(job.state.value, style=_STYLES[job.state])
