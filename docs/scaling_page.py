"""Write the figures of docs/scaling.md: costs, how well they predict, and what loads take.

They come from the package's own file of measured costs through the model of `orchestrator
capacity`. Run it after either has changed; `make check` runs it with --check.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.cli.capacity import size
from orchestrator.core.capacity import SECONDS_OF_A_DAY, Database, Load, Resource, demand
from orchestrator.service.sizing import SHIPPED, read_costs

PAGE = Path(__file__).parent / "scaling.md"
BEGIN, END = "<!-- generated: {} -->\n", "<!-- end: {} -->"
RUNS_A_DAY = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
STEPS, CALL_SECONDS = 5, 0.2
_WORDS = {
    Resource.WORKER_CPU: ("CPU of workers", 1e3, "ms"),
    Resource.ACCEPTANCE_CPU: ("CPU of whoever submits", 1e3, "ms"),
    Resource.DATABASE_CPU: ("CPU of PostgreSQL", 1e3, "ms"),
    Resource.DATABASE_TRANSACTIONS: ("transactions", 1.0, ""),
    Resource.DATABASE_WAL: ("WAL", 1e-3, "kB"),
    Resource.DATABASE_BYTES: ("disk, with indexes", 1e-3, "kB"),
    Resource.REDIS_CPU: ("CPU of Redis", 1e3, "ms"),
    Resource.REDIS_COMMANDS: ("commands of Redis", 1.0, ""),
}


def load(runs_per_second: float, *, steps: int = STEPS, call_seconds: float = CALL_SECONDS) -> Load:
    """With the defaults of the command; many workers are behind a pooler."""
    return Load(
        runs_per_second=runs_per_second, steps=steps, call_seconds=call_seconds, concurrency=500,
        utilisation=0.7, database=Database.PGBOUNCER, database_cores=32,
    )  # fmt: skip


def costs_table() -> str:
    """What each resource is used by."""
    costs, where = read_costs()
    lines = [
        f"Measured on: {where}.", "",
        "| of | a run | each step | with a call | an idle worker, each second |", _rule(4),
    ]  # fmt: skip
    for resource, cost in costs.of.items():
        name, factor, unit = _WORDS[resource]
        values = [_shown(value * factor, unit) for value in (
            cost.run, cost.step, cost.step + cost.call, cost.worker_second
        )]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


def held_back_table() -> str:
    """What was predicted for configurations that the fit has not seen, and measured."""
    lines = ["| of a run | predicted for | predicted | measured | off |", _rule(3, left=2)]
    for each in sorted(_shipped()["held_back"], key=lambda each: list(_NAMES).index(_of(each))):
        name, factor, unit = _NAMES[_of(each)]
        values = [_shown(each[key] * factor, unit) for key in ("predicted", "measured")]
        off = each["predicted"] / each["measured"] - 1
        lines.append(f"| {name} | {each['setup']} | {' | '.join(values)} | {off:+.0%} |")
    return "\n".join(lines)


_NAMES = {resource.value: words for resource, words in _WORDS.items()}


def _of(compared: Mapping[str, Any]) -> str:
    return str(compared["figure"]).partition(" ")[0]


def ceilings_table() -> str:
    """What one of each does when it is as busy as it should be."""
    costs, _ = read_costs()
    lines = ["| runs/s | without calls | with calls |", _rule(2)]
    for name, resource, cores in _ONE_OF:
        values = []
        for call_seconds in (0.0, CALL_SECONDS):
            one = load(1.0, call_seconds=call_seconds)
            if resource is Resource.REDIS_CPU and not call_seconds:
                values.append("too little to say")  # a message for 64 runs
                continue
            values.append(f"{one.utilisation * cores / costs.of[resource].of_a_run(one):,.0f}")
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


_ONE_OF = (
    ("one worker, on one core", Resource.WORKER_CPU, 1),
    ("one PostgreSQL with 32 cores, by its CPU", Resource.DATABASE_CPU, 32),
    ("one Redis, which has one core for commands", Resource.REDIS_CPU, 1),
)


def loads_table() -> str:
    """What so many runs a day take."""
    costs, _ = read_costs()
    columns = (
        "runs a day", "runs/s", "calls/s", "under way", "workers", "PostgreSQL: cores busy",
        "WAL/s", "disk a day", "Redis: cores busy", "sessions past the pooler",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", _rule(len(columns), left=0)]
    for runs in RUNS_A_DAY:
        takes = demand(load(runs / SECONDS_OF_A_DAY), costs)
        row = (
            f"{runs:,}", f"{runs / SECONDS_OF_A_DAY:,.0f}", f"{takes.calls_per_second:,.0f}",
            f"{takes.runs_in_flight:,.0f}", f"{takes.workers:,}", f"{takes.database_cores:,.1f}",
            size(takes.database_wal_bytes_per_second), size(takes.database_bytes_per_day),
            f"{takes.redis_cores:,.2f}", f"{takes.database_connections:,}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def billion() -> str:
    """How many deployments side by side share the last row."""
    costs, _ = read_costs()
    wish = load(RUNS_A_DAY[-1] / SECONDS_OF_A_DAY)
    takes = demand(wish, costs)
    cells = max(takes.database_servers, takes.redis_servers)
    each = demand(load(wish.runs_per_second / cells), costs)
    return (
        f"A billion: {takes.redis_servers:,} servers of Redis and {takes.database_servers:,} of"
        f" PostgreSQL with {wish.database_cores} cores at {wish.utilisation:.0%}, so"
        f" {cells:,} cells. Each of them: {wish.runs_per_second / cells:,.0f} runs/s,"
        f" {each.workers:,} workers, {each.database_cores:,.1f} cores of PostgreSQL busy,"
        f" {size(each.database_wal_bytes_per_second)}/s of WAL,"
        f" {size(each.database_bytes_per_day)} of disk a day."
    )


def _rule(right: int, *, left: int = 1) -> str:
    """Beneath a table's head; columns of numbers are `right`."""
    return f"| {' | '.join([*['---'] * left, *['---:'] * right])} |"


def _shown(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip()


def _shipped() -> Any:
    return json.loads(resources.files("orchestrator.service").joinpath(SHIPPED).read_bytes())


def blocks() -> Iterator[tuple[str, str]]:
    """The marked blocks by name."""
    yield "costs", costs_table()
    yield "held back", held_back_table()
    yield "ceilings", ceilings_table()
    yield "loads", loads_table()
    yield "billion", billion()


def written(page: str) -> str:
    """The page with its blocks as they have to be. Raises SystemExit where a marker is missing."""
    for name, block in blocks():
        begin, end = BEGIN.format(name), END.format(name)
        head, found, rest = page.partition(begin)
        _, also, tail = rest.partition(end)
        if not found or not also:
            sys.exit(f"{PAGE.name} lacks the lines '{begin.strip()}' and '{end.strip()}'")
        page = f"{head}{begin}{block}\n{end}{tail}"
    return page


def main() -> None:
    """Write it, or with --check say that it is old."""
    page = PAGE.read_text()
    if "--check" in sys.argv:
        if written(page) != page:
            sys.exit(f"{PAGE.name} is old: python docs/scaling_page.py")
    else:
        PAGE.write_text(written(page))


if __name__ == "__main__":
    main()
