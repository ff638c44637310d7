"""`orchestrator bench kills`: the same kills under the same load, of ours and of other engines.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine.place import Wish, set_up
from tests.bench.kills.dbos_engine import Dbos
from tests.bench.kills.engine import Engine, Stage
from tests.bench.kills.ours import Ours
from tests.bench.kills.playing import AWAY_SECONDS, Load, load_of, play
from tests.bench.kills.report import table
from tests.bench.kills.restate_engine import Restate
from tests.bench.kills.schedule import schedule
from tests.bench.kills.temporal_engine import Temporal
from tests.faults.chaos.stage import new_folder, remove
from tests.faults.ledger.running import LedgerProcess

ENGINES: tuple[Engine, ...] = (Ours(), Dbos(), Restate(), Temporal())
LATENCY_SECONDS = (0.2, 0.6)


class Which(StrEnum):
    """Whose turn it is."""

    OURS = "ours"
    DBOS = "dbos"
    RESTATE = "restate"
    TEMPORAL = "temporal"
    ALL = "all"


def measure(
    engine: Engine, load: Load, console: Console, *, workers: int, keep: bool
) -> dict[str, Any]:
    """One engine, on servers and a ledger of its own. The folder stays when it fails."""
    described = {"system": engine.system, "promise": engine.promise, "set_up": engine.set_up}
    missing = engine.missing()
    if missing:
        return {**described, "missing": missing}

    def say(text: str) -> None:
        console.print(f"{engine.system:>9}  {text}", markup=False, highlight=False, soft_wrap=True)

    folder = new_folder()
    try:
        engine.prepare()
        with set_up(Wish(workers=workers), folder) as place:
            (folder / "ledger").mkdir()
            ledger = LedgerProcess(folder / "ledger", latency_seconds=LATENCY_SECONDS)
            with ledger:
                stage = Stage(place=place, ledger=ledger, workers=workers)
                played = asyncio.run(play(engine, stage, load, say))
            verdict = played.verdict(ledger.records(), load)
    except Exception as error:  # noqa: BLE001 -- each engine has errors of its own; others go on
        say(f"not played to its end: {type(error).__name__}: {error}; kept: {folder}")
        return {**described, "error": f"{type(error).__name__}: {error}"}
    if keep:
        say(f"kept: {folder}")
    else:
        remove(folder)
    return {
        **described, "version": engine.version(), **verdict.to_json(),
        "drain_seconds": round(played.drain_seconds, 1),
        "submits_repeated": played.submits_repeated, "restarts": played.restarts,
    }  # fmt: skip


def _interrupt(*_: object) -> NoReturn:
    """SIGTERM ends everything in good order, as Ctrl-C does."""
    raise KeyboardInterrupt


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=3, help="Runs of each engine.")] = 600,
    kills: Annotated[int, typer.Option(min=1, max=100, help="Processes that are killed.")] = 9,
    seed: Annotated[int, typer.Option(help="Decides what is killed when.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Worker processes.")] = 2,
    engine: Annotated[Which, typer.Option(help="Whose turn it is.")] = Which.ALL,
    keep: Annotated[bool, typer.Option("--keep", help="Keep ledgers and logs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """SIGKILL workers and servers of durable engines at the same times, and count at the ledger.

    Others need packages of their own: pip install -e '.[peers]', and npm for Restate's server. One
    that is not there is left out. The exit code is 1 when none could be measured, and when ours
    broke its promise.
    """
    configure_logging(level="CRITICAL")
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True, highlight=False)
    load = load_of(seed, runs, schedule(seed, kills))
    chosen = [one for one in ENGINES if engine.value in (one.system, Which.ALL)]
    found = [measure(one, load, console, workers=workers, keep=keep) for one in chosen]
    options = {"runs": runs, "kills": kills, "seed": seed, "workers": workers}
    load_average = round(os.getloadavg()[0], 1)
    whole = {
        "options": options, "away_seconds": AWAY_SECONDS, "latency_seconds": LATENCY_SECONDS,
        "machine": {"cores": os.cpu_count(), "load_average": load_average}, "engines": found,
    }  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(whole) + "\n")
    else:
        console.print(table(found))
    if broken(found) or not any("endings" in one for one in found):
        raise typer.Exit(1)


def broken(found: Sequence[dict[str, Any]]) -> bool:
    """Whether ours was measured and did what it promises never to do."""
    for one in found:
        if one["system"] == Which.OURS and "endings" in one:
            never = (one["left"], one["missing"], sum(one["doubled"].values()), len(one["wrong"]))
            return any(never) or "never ended" in one["endings"]
    return False


if __name__ == "__main__":
    app(prog_name="orchestrator bench kills")
