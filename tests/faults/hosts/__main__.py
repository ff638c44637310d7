"""`orchestrator bench hosts`: a deployment over hosts of their own, which get lost; judged.

Hosts are network namespaces (`network`), so it needs root and iproute2. What is started is private
and ended again; its folder stays when something is not as it should be.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.faults.chaos.judging import Judgement
from tests.faults.chaos.stage import new_folder, remove
from tests.faults.hosts import network, speed
from tests.faults.hosts.playing import Played, Player
from tests.faults.hosts.site import set_up

NOT_HERE = 2
WORKERS = (1, 2, 4)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=100, help="Runs while hosts get lost.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=20, help="Over which these are submitted.")] = 240.0,
    seed: Annotated[int, typer.Option(help="Decides the runs.")] = 1,
    speed_runs: Annotated[
        int, typer.Option(min=0, help="Runs for each number of workers; 0: no speeds.")
    ] = 6000,
    speed_rests: Annotated[
        int,
        typer.Option(
            min=0, help="Runs for each worker whose steps wait for an answer; 0: no such speeds."
        ),
    ] = 1500,
    speed_rounds: Annotated[
        int, typer.Option(min=1, help="Of all numbers of workers; the middle one of each counts.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A deployment on hosts of its own, of which one is cut off, one lost, and all upgraded.

    Then throughput with one, two and four workers. Exits with 1 when a promise was broken, with 2
    where there can be no such hosts.
    """
    configure_logging(level="ERROR")
    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False)

    folder = new_folder()
    try:
        with set_up(folder, seed=seed) as site:
            player = Player(site=site, seed=seed, runs=runs, seconds=seconds, say=say)
            played, judgement = player.play()
            speeds = [
                each
                for load, count in ((speed.BUSY, speed_runs), (speed.RESTING, speed_rests)) if count
                for each in speed.measure(
                    site, load, WORKERS, runs=count, rounds=speed_rounds, say=say
                )
            ]  # fmt: skip
    except (OrchestratorError, OSError, RuntimeError, TimeoutError) as error:
        say(f"not played to its end: {error}; kept: {folder}")
        raise typer.Exit(1) from None
    if judgement.clean:
        remove(folder)
    else:
        say(f"{judgement.story()}\nkept: {folder}")
    _show(_figures(played, judgement, speeds) | {"seed": seed}, console, as_json=as_json)
    raise typer.Exit(0 if judgement.clean else 1)


def _figures(played: Played, judgement: Judgement, speeds: list[speed.Speed]) -> dict[str, Any]:
    return {
        **played.to_json(), **judgement.counts(), "speeds": [each.to_json() for each in speeds]
    }  # fmt: skip


def _show(found: dict[str, Any], console: Console, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        console.print(f"{name:>28}  {value}", markup=False)


if __name__ == "__main__":
    wants_help = "--help" in sys.argv[1:]
    if not wants_help and not network.is_enclosed():
        if why := network.lacking():
            sys.stderr.write(f"no hosts can be made here: {why}\n")
            raise SystemExit(NOT_HERE)
        network.enclose("tests.faults.hosts", sys.argv[1:])
    app(prog_name="orchestrator bench hosts")
