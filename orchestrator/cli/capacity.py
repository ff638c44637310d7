"""`orchestrator capacity`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.core.capacity import Database, Demand, Load, demand
from orchestrator.service.sizing import read_costs

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_THOUSAND = 1000


def capacity(
    *,
    runs_per_second: Annotated[
        float, typer.Option(help="Runs that are accepted each second, on average.")
    ],
    steps: Annotated[int, typer.Option(help="Steps of each.")],
    call_ms: Annotated[
        float,
        typer.Option(help="How long the API call of each step takes; 0: steps call no API."),
    ] = 0.0,
    database: Annotated[
        Database,
        typer.Option(help="postgres, or pgbouncer: PostgreSQL behind it in transaction mode."),
    ] = Database.POSTGRES,
    concurrency: Annotated[
        int, typer.Option(help="Active runs of a worker, the setting `concurrency`.")
    ] = 500,
    utilisation: Annotated[
        float, typer.Option(help="How busy a core is to be at most; what is left is for peaks.")
    ] = 0.7,
    database_cores: Annotated[int, typer.Option(help="Cores of one database server.")] = 32,
    keep_days: Annotated[
        float, typer.Option(min=0, max=36_500, help="For so long runs are kept: how much disk.")
    ] = 30.0,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="Costs of your own (`orchestrator bench capacity --out FILE`); else those that"
            " come with the package."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """How many workers a load takes, and what it asks of database, Redis and disk.

    By a linear model of costs that were measured (`orchestrator bench capacity`); it looks at no
    deployment. A run's compensations count as steps.
    """
    load = Load(
        runs_per_second=runs_per_second, steps=steps, call_seconds=call_ms / 1000,
        concurrency=concurrency, utilisation=utilisation, database=database,
        database_cores=database_cores,
    )  # fmt: skip
    found, where = read_costs(costs)
    takes = demand(load, found)
    kept = takes.database_bytes_per_day * keep_days
    answer(
        {"load": load, "demand": takes, "disk_bytes": kept, "costs_measured_on": where},
        lambda: Group(_draw(load, takes, keep_days), Text(f"costs: {where}", style="dim")),
        as_json=as_json,
    )


def _draw(load: Load, takes: Demand, keep_days: float) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    grid.add_column(style="dim")
    for row in _rows(load, takes, keep_days):
        grid.add_row(*map(Text, row))
    return grid


def _rows(load: Load, takes: Demand, keep_days: float) -> Iterator[tuple[str, str, str]]:
    under_way = f"{takes.runs_in_flight:,.0f} under way at once"
    each = f"{takes.steps_per_second:,.6g} steps/s, {takes.calls_per_second:,.6g} calls/s"
    yield (
        "runs", f"{load.runs_per_second:,.6g}/s", f"{takes.runs_per_day:,.0f} a day; {each}",
    )  # fmt: skip
    busy = f"{takes.worker_cores:,.1f} cores busy"
    why = f"{load.utilisation:.0%} of each at most"
    if takes.bound == "concurrency":
        why = f"each has {load.concurrency:,} active runs (concurrency)"
    yield "workers", f"{takes.workers:,}", f"{busy}; {why}; {under_way}"
    transactions = f"{takes.database_transactions_per_second:,.0f} transactions/s"
    wal = f"{size(takes.database_wal_bytes_per_second)}/s of WAL"
    busy = f"{takes.database_cores:,.1f} cores busy"
    yield (
        "database", f"{takes.database_servers:,}",
        f"of {load.database_cores} cores; {busy}, {transactions}, {wal}",
    )  # fmt: skip
    pooled = " past the pooler" if load.database is Database.PGBOUNCER else ""
    yield "connections", f"{takes.database_connections:,}", f"to it at most, of all workers{pooled}"
    kept = size(takes.database_bytes_per_day * keep_days)
    yield "disk", f"{size(takes.database_bytes_per_day)}/day", f"{kept} for {keep_days:g} days"
    commands = f"{takes.redis_commands_per_second:,.0f} commands/s, broker and gate together"
    yield "Redis", f"{takes.redis_servers:,}", f"{takes.redis_cores:,.2f} cores busy, {commands}"
    yield "submitting", f"{takes.acceptance_cores:,.2f}", "cores busy, in bulk"


def size(amount: float) -> str:
    """`1.24 GB`, `12.3 TB`; decimal units."""
    for unit in _UNITS:
        if amount < _THOUSAND or unit == _UNITS[-1]:
            break
        amount /= _THOUSAND
    return f"{amount:,.3g} {unit}" if amount < _THOUSAND else f"{amount:,.0f} {unit}"
