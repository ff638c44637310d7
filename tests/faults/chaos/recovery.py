"""`orchestrator bench recovery`: how soon work goes on when a worker or the broker is gone.

Each scenario has a stage of its own, on each database. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.telemetry.logging import configure_logging
from tests.faults.chaos.postgres import Postgres
from tests.faults.chaos.stage import Scene, Stage, new_folder, remove, set_up
from tests.faults.chaos.stale_writes import try_stale_writes
from tests.faults.chaos.takeover import (
    QUICK,
    empty_the_broker,
    lose_a_worker,
    lose_the_only_worker,
    scene,
)

STALE_WRITES = 10_000
ORIENTATION_RUNS = 200
DATABASES = {"both": ("sqlite", "postgres"), "sqlite": ("sqlite",), "postgres": ("postgres",)}
GOALS: Mapping[tuple[str, str], float] = {
    ("killed", "p99"): 3.0,
    ("killed", "max"): 15.0,
    ("frozen", "p99"): 10.0,
    ("frozen", "max"): 15.0,
    ("broker_emptied", "max"): 10.0,
}
"""In seconds: at most."""
NOTHING = ("never", "unsettled", "repeated_others", "applied", "tables_changed")
"""Of these there must be none in any scenario."""

Figures = dict[str, Any]


def measure(database: str, runs: int) -> Iterator[tuple[str, Figures]]:
    """Each scenario's name and figures, as it is through."""
    slow = scene(database, runs=runs)
    kill, freeze = signal.SIGKILL, signal.SIGSTOP
    yield "killed", on_stage(slow, lambda stage: lose_a_worker(stage, runs, kill))
    yield "frozen", on_stage(slow, lambda stage: lose_a_worker(stage, runs, freeze))
    yield "broker_emptied", on_stage(slow, lambda stage: empty_the_broker(stage, runs))
    yield "stale_writes", stale_writes(database, STALE_WRITES)
    alone = scene(database, runs=ORIENTATION_RUNS, mood=QUICK, workers=1)
    losing = partial(lose_the_only_worker, runs=ORIENTATION_RUNS, away_seconds=2.0)
    yield "only_worker", on_stage(alone, losing)


def on_stage(wanted: Scene, act: Callable[[Stage], Awaitable[Any]]) -> Figures:
    """Figures of one scenario, on a stage whose workers are up."""
    folder = new_folder()
    try:
        with set_up(wanted, folder) as stage:
            stage.supervisor.start()
            found: Figures = asyncio.run(_play(stage, act)).to_json()
    finally:
        remove(folder)
    return found


async def _play(stage: Stage, act: Callable[[Stage], Awaitable[Any]]) -> Any:
    return await act(stage)


def stale_writes(database: str, count: int) -> Figures:
    """On a database of its own."""
    folder = new_folder()
    postgres = Postgres(folder, log_path=folder / "log") if database == "postgres" else None
    try:
        if postgres is not None:
            postgres.start()
            postgres.child.wait_ready()
        url = f"sqlite:///{folder / 'stale.db'}" if postgres is None else postgres.url
        found = asyncio.run(try_stale_writes(url, count))
    finally:
        if postgres is not None:
            postgres.stop()
        remove(folder)
    return {
        "tried": found.tried,
        "applied": found.applied,
        "tables_changed": len(found.tables_changed),
    }


def missed(figures: Mapping[str, Figures]) -> list[str]:
    """Goals that one database's figures miss, in words."""
    found = []
    for (scenario, name), most in GOALS.items():
        value = figures[scenario][name]
        if value is None or value > most:
            found.append(f"{scenario} {name}: {value} s, wanted at most {most:g} s")
    for scenario, numbers in figures.items():
        found += [f"{scenario} {name}: {numbers[name]}" for name in NOTHING if numbers.get(name)]
    if figures["only_worker"]["seconds"] is None:
        found.append("only_worker: not all runs settled")
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=2, help="Runs in flight.")] = 1000,
    db: Annotated[str, typer.Option(help="sqlite, postgres or both.")] = "both",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Lose one of two workers, freeze one, empty the broker, write with stale claims."""
    configure_logging(level="ERROR")
    if db not in DATABASES:
        raise typer.BadParameter(f"found {db}; wanted one of {', '.join(DATABASES)}")
    console, began = Console(stderr=True, highlight=False), time.monotonic()
    found: dict[str, Any] = {"runs": runs}
    misses: list[str] = []
    for database in DATABASES[db]:
        found[database] = figures = {}
        for scenario, numbers in measure(database, runs):
            figures[scenario] = numbers
            console.print(f"{database:<9}{scenario:<15}{_words(numbers)}", markup=False)
        misses += [f"{database}, {miss}" for miss in missed(figures)]
    for miss in misses:
        console.print(f"missed: {miss}", markup=False)
    if as_json:
        found |= {"missed": misses, "seconds": round(time.monotonic() - began, 1)}
        sys.stdout.write(json.dumps(found) + "\n")
    raise typer.Exit(1 if misses else 0)


def _words(numbers: Figures) -> str:
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


if __name__ == "__main__":
    app(prog_name="orchestrator bench recovery")
