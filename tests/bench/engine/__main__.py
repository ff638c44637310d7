"""`orchestrator bench engine`: the same work by the orchestrator and by an ordinary Celery chain.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine import inflight, ours, theirs
from tests.bench.engine.figures import Round, report
from tests.bench.engine.place import Place, Wish, set_up
from tests.faults.chaos.stage import new_folder, remove


class Load(StrEnum):
    """The work."""

    NOOP = "noop"
    IO20 = "io20"
    FAIL = "fail"
    SUBMIT = "submit"
    LATENCY = "latency"
    INFLIGHT = "inflight"


class Database(StrEnum):
    """Which one holds the truth."""

    POSTGRES = "postgres"
    SQLITE = "sqlite"


class Against(StrEnum):
    """Who else does it, in turn."""

    CHAIN = "celery-chain"
    NONE = "none"


def measure(wish: Wish, *, pairs: int, against: str, console: Console) -> dict[str, Any]:
    """All rounds: ours, theirs, ours, theirs, … Raises what a round raises; its folder stays."""
    folder = new_folder()
    console.print(f"{wish.load}: {wish.runs} runs of {wish.steps} steps; {folder}", markup=False)
    settings = inflight.settings(wish) if wish.load == Load.INFLIGHT else {}
    with set_up(wish, folder, **settings) as place:
        asyncio.run(ours.prepare(place))
        described = place.described()
        console.print(json.dumps(described), markup=False)
        found = _rounds(place, pairs, against, console)
    remove(folder)
    machine = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    options = {
        "runs": wish.runs, "steps": wish.steps, "workers": wish.workers, "pairs": pairs,
    }  # fmt: skip
    return {**found, "options": options, "settings": described, "machine": machine}


def _rounds(place: Place, pairs: int, against: str, console: Console) -> dict[str, Any]:
    rounds: dict[str, list[Round]] = {}

    def add(name: str, made: Round) -> None:
        rounds.setdefault(name, []).append(made)
        shown = {key: round(value, 2) for key, value in made.figures().items()}
        console.print(f"{name:>22}  {shown}", markup=False, soft_wrap=True)

    if place.wish.load == Load.INFLIGHT:
        add("ours", asyncio.run(inflight.round_of(place)))
        return report(place.wish.load, rounds)
    for _ in range(pairs):
        add("ours", _with_stub(place, lambda: asyncio.run(ours.round_of(place))))
        for variant in theirs.variants(place.wish.load) if against == Against.CHAIN else ():
            add(variant.title, _with_stub(place, lambda v=variant: theirs.round_of(place, v)))
    return report(place.wish.load, rounds)


def _with_stub(place: Place, work: Any) -> Round:
    """The round, with what the stub did meanwhile and could have done on one core."""
    if place.stub is None:
        made: Round = work()
        return made
    before = place.stub.statistics()
    made = work()
    after = place.stub.statistics()
    spent = after["cpu_seconds"] - before["cpu_seconds"]
    more = {
        "stub_cpu_share": spent / made.seconds,
        "stub_requests_per_cpu_second": (after["requests"] - before["requests"]) / spent,
    }
    return made.with_more(more)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    load: Annotated[Load, typer.Option(help="The work.")] = Load.NOOP,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each round.")] = 2000,
    steps: Annotated[int, typer.Option(min=2, max=50, help="Steps of each run.")] = 5,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    db: Annotated[Database, typer.Option(help="The database.")] = Database.POSTGRES,
    pairs: Annotated[int, typer.Option(min=1, max=99, help="Repetitions.")] = 3,
    against: Annotated[Against, typer.Option(help="Who else does it.")] = Against.CHAIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The same work by the orchestrator and by an ordinary Celery chain, in turn."""
    configure_logging(level="ERROR")
    console = Console(stderr=True, highlight=False)
    workers = 1 if load is Load.INFLIGHT else workers
    wish = Wish(load=load.value, runs=runs, steps=steps, workers=workers, database=db.value)
    try:
        found = measure(wish, pairs=pairs, against=against.value, console=console)
    except (OrchestratorError, TimeoutError, RuntimeError) as error:
        console.print(f"not measured: {error}", markup=False)
        raise typer.Exit(1) from None
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        console.print(json.dumps(found, indent=1), markup=False)


if __name__ == "__main__":
    app(prog_name="orchestrator bench engine")
