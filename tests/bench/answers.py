"""`orchestrator bench answers`: how soon who submits a short run over HTTP has its outputs.

Steps that call nothing, one run at a time over one connection, in real processes: the face, a
worker, a broker and a database, all private. Two ways in turns: `two`, which submits and then
waits (`GET /v1/runs/ID?wait=`), and `one`, which waits with the submission (`POST /v1/runs?wait=`).
Of it by the database's clock: how long after its acceptance a worker claimed the run, and how long
it ran; what is beside is HTTP, and that who waits is not told at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.api.serving import serving
from tests.bench.engine import ours
from tests.bench.engine.figures import percentile
from tests.bench.engine.place import Place, Wish, set_up
from tests.bench.engine.steps import NOOP
from tests.faults.chaos.stage import new_folder, remove

_WARM = 20
_SECONDS = 30
_MS = 1000.0
_TIMES = ("created_at", "started_at", "settled_at")


class Database(StrEnum):
    """Which one holds the truth."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass(frozen=True)
class Answer:
    """Milliseconds."""

    heard: float  # from the request to its outputs
    claimed: float  # of these, from acceptance to a worker's claim
    ran: float  # from then to its end


Way = Callable[[httpx.Client, int], Mapping[str, Any]]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=2, help="Runs each way.")] = 500,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each.")] = 3,
    database: Annotated[
        Database, typer.Option("--database", "--db", help="The database.")
    ] = Database.POSTGRESQL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How soon who submits a short run over HTTP has its outputs."""
    configure_logging(level="ERROR")
    name = "postgres" if database is Database.POSTGRESQL else "sqlite"
    folder = new_folder()
    try:
        with set_up(Wish(runs=runs, steps=steps, workers=1, database=name), folder) as place:
            found = asyncio.run(_measure(place))
    except (OrchestratorError, TimeoutError, RuntimeError, httpx.HTTPError) as error:
        said = f"not measured: {error!r}; its folder is {folder}"
        Console(stderr=True, highlight=False).print(said, markup=False)
        raise typer.Exit(1) from None
    remove(folder)
    sys.stdout.write(json.dumps(found, indent=None if as_json else 1) + "\n")


async def _measure(place: Place) -> dict[str, Any]:
    await ours.prepare(place)
    async with ours.workers(place) as crew:
        await crew.warm()
        load = os.getloadavg()[0]
        with serving({**place.env, "ORCHESTRATOR_LOG_LEVEL": "ERROR"}) as address:
            answers = await asyncio.to_thread(_ask_in_turns, address, place.wish.runs)
    return {
        **{name: figures(found) for name, found in answers.items()},
        "runs": place.wish.runs, "steps": place.wish.steps, "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1), "settings": place.described(),
    }  # fmt: skip


def _ask_in_turns(address: str, runs: int) -> dict[str, list[Answer]]:
    ways: dict[str, Way] = {"two": _two, "one": _one}
    with httpx.Client(base_url=address, timeout=2 * _SECONDS) as client:
        for number in range(_WARM):
            _two(client, number)
        return _in_turns(client, ways, runs)


def _in_turns(client: httpx.Client, ways: Mapping[str, Way], runs: int) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {name: [] for name in ways}
    for number in range(runs):
        for name, way in ways.items():
            began = time.perf_counter()
            run = way(client, number)
            heard = time.perf_counter() - began
            if run["status"] != "succeeded":
                raise RuntimeError(f"run {run['id']} has {run['status']}: {run['cause']}")
            accepted, claimed, ended = (datetime.fromisoformat(run[key]) for key in _TIMES)
            answers[name].append(Answer(
                heard * _MS, (claimed - accepted).total_seconds() * _MS,
                (ended - claimed).total_seconds() * _MS,
            ))  # fmt: skip
    return answers


def _two(client: httpx.Client, number: int) -> Mapping[str, Any]:
    made = client.post("/v1/runs", json=_wish(number)).raise_for_status().json()
    asked = client.get(f"/v1/runs/{made['run_id']}", params={"wait": _SECONDS})
    return dict(asked.raise_for_status().json())


def _one(client: httpx.Client, number: int) -> Mapping[str, Any]:
    asked = client.post("/v1/runs", json=_wish(number), params={"wait": _SECONDS})
    return dict(asked.raise_for_status().json()["run"])


def _wish(number: int) -> dict[str, Any]:
    return {"workflow": NOOP, "inputs": {"number": number}}


def figures(answers: Sequence[Answer]) -> dict[str, float]:
    """Medians of all parts, and the 99th percentile of the whole."""
    heard = [each.heard for each in answers]
    beside = [each.heard - each.claimed - each.ran for each in answers]
    return {
        "p50_ms": round(percentile(heard, 0.5), 1), "p99_ms": round(percentile(heard, 0.99), 1),
        "claimed_p50_ms": round(percentile([each.claimed for each in answers], 0.5), 1),
        "ran_p50_ms": round(percentile([each.ran for each in answers], 0.5), 1),
        "beside_p50_ms": round(percentile(beside, 0.5), 1),
    }  # fmt: skip


if __name__ == "__main__":
    app(prog_name="orchestrator bench answers")
