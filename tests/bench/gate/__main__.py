"""`orchestrator bench gate`: what the gate makes of an API's limits, as the API sees it.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.errors import InvalidSetting, OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine import cores
from tests.bench.gate import (
    adaptive,
    cost,
    expiry,
    fairness,
    killed,
    outage,
    printing,
    steady,
    verdict,
)
from tests.bench.gate.judging import GRACE_SECONDS
from tests.bench.gate.stage import Asked, Stage, set_up
from tests.faults.chaos.stage import new_folder, remove

_COST_SECONDS = 5.0


class Phase(StrEnum):
    """What is measured."""

    STEADY = "steady"
    COST = "cost"
    FAIRNESS = "fairness"
    KILLED = "killed"
    OUTAGE = "outage"
    TOKEN = "token"
    ADAPTIVE = "adaptive"


class Database(StrEnum):
    """Which one holds the truth."""

    POSTGRES = "postgres"
    SQLITE = "sqlite"


_PHASES = (
    "steady: a backlog against one rate, with each number of workers. cost: CPU of the gate beside"
    " `limits`. fairness: one tenant has a hundred times the backlog. killed: a worker that holds"
    " half of the slots. outage: an API is dead beside one that is well. token: it ends in the"
    " middle. adaptive: the API halves its limit in silence. Several: steady,fairness"
)
_ONCE: Mapping[Phase, Callable[[Stage], Awaitable[dict[str, Any]]]] = {
    Phase.FAIRNESS: fairness.measure, Phase.KILLED: killed.measure, Phase.OUTAGE: outage.measure,
    Phase.TOKEN: expiry.measure, Phase.ADAPTIVE: adaptive.measure,
}  # fmt: skip
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    phase: Annotated[str, typer.Option(help=f"All, or some. {_PHASES}")] = ",".join(Phase),
    seconds: Annotated[
        float, typer.Option(min=3, max=600, help="Bounds each phase; it scales their times.")
    ] = 30.0,
    workers: Annotated[
        str, typer.Option(help="Worker processes of `steady`; the others take the first from 2 on.")
    ] = "1,2,4",
    runs: Annotated[int, typer.Option(min=100, help="The backlog.")] = 10_000,
    db: Annotated[Database, typer.Option(help="The database.")] = Database.POSTGRES,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What the gate makes of an API's limits. Exit code 1: one was exceeded, or a run failed."""
    configure_logging(level="ERROR")
    asked = Asked(seconds=seconds, workers=_counts(workers), runs=runs, database=db.value)
    console = Console(stderr=True, highlight=False)
    found = _measured(asked, _phases(phase), console)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        printing.show(found, Console(highlight=False))
    raise typer.Exit(0 if verdict.kept(found) else 1)


def _measured(asked: Asked, phases: Sequence[Phase], console: Console) -> dict[str, Any]:
    machine = {
        "cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1),
        "open_files": cores.open_many_files(),
    }  # fmt: skip
    folder = new_folder()
    console.print(f"{', '.join(phases)}; {folder}", markup=False)
    try:
        with set_up(asked, folder) as stage:
            found = asyncio.run(_in_turn(stage, phases, console))
    except (OrchestratorError, OSError, RuntimeError, ValueError) as error:
        console.print(f"not measured: {error}; {folder}", markup=False)
        raise typer.Exit(1) from None
    remove(folder)
    made = {**verdict.summary(found), "phases": found, "machine": machine}
    judge = {"window": "sliding", "grace_seconds": GRACE_SECONDS}
    return {
        **made, "missed": verdict.missed(made), "judge": judge, "seconds": asked.seconds,
        "runs": asked.runs, "db": asked.database,
    }  # fmt: skip


async def _in_turn(stage: Stage, phases: Sequence[Phase], console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for phase in phases:
        load = round(os.getloadavg()[0], 2)
        made = await _one(stage, phase)
        found[phase.value] = made
        for each in made if isinstance(made, list) else [made]:
            each["load_average"] = load
            console.print(f"{phase.value}: {each}", markup=False, soft_wrap=True)
    return found


async def _one(stage: Stage, phase: Phase) -> Any:
    """Its figures; what the product cannot do yet is said in their place."""
    if phase is Phase.STEADY:
        return [await steady.measure(stage, workers) for workers in stage.asked.workers]
    if phase is Phase.COST:
        return await cost.measure(stage, min(_COST_SECONDS, stage.asked.seconds))
    try:
        return await _ONCE[phase](stage)
    except InvalidSetting as error:
        return {"not_possible": "; ".join(str(problem) for problem in error.problems)}


def _phases(text: str) -> tuple[Phase, ...]:
    """In the order in which they are listed above."""
    wanted = {part.strip() for part in text.split(",")}
    unknown = wanted - set(Phase)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: wanted some of {', '.join(Phase)}")
    return tuple(phase for phase in Phase if phase in wanted)


def _counts(text: str) -> tuple[int, ...]:
    """Numbers of workers, as they are tried in turn."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 16 for part in parts):
        raise typer.BadParameter(f"{text!r} is not 1 to 16, or several of those: 1,2,4")
    return tuple(sorted({int(part) for part in parts}))


if __name__ == "__main__":
    app(prog_name="orchestrator bench gate")
