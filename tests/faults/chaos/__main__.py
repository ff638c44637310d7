"""`orchestrator bench chaos`: real processes under seeded faults, healed, drained, judged.

Everything is started privately in a folder of its own and ended again; the folder stays when
something is not as it should be. Progress and stories go to standard error.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.embedded.supervise import StopRequested
from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.faults.chaos.game import Interrupted, Watchers
from tests.faults.chaos.performing import BrokerKind, Database, Result, Wish, perform

EXIT_INTERRUPTED = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Runs to submit.")] = 1000,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the fault window.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Decides runs, faults and the API's moods.")] = 1,
    db: Annotated[Database, typer.Option(help="The database.")] = Database.SQLITE,
    broker: Annotated[BrokerKind, typer.Option(help="The broker.")] = BrokerKind.REDIS,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Break everything that can be broken, heal it, and hold the outcome against the ledger.

    Exits with 1 if any zero is not a zero.
    """
    configure_logging(level="ERROR")
    stop, console = StopRequested().install(), Console(stderr=True, highlight=False)
    wish = Wish(
        runs=runs, seconds=seconds, seed=seed, database=db.value, broker=broker.value,
        workers=workers,
    )  # fmt: skip
    try:
        with _progress(console) as bar:
            task = bar.add_task("acknowledged", total=runs)

            def tick(_unsettled: int, acknowledged: int) -> None:
                bar.update(task, completed=acknowledged)

            watchers = Watchers(say=bar.console.print, tick=tick, interrupted=stop)
            result = perform(wish, watchers=watchers)
    except Interrupted:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (OrchestratorError, TimeoutError) as error:
        console.print(f"not played to its end: {error}", markup=False)
        raise typer.Exit(1) from None
    if not result.clean:
        console.print(result.judgement.story(), markup=False)
        console.print(f"kept: {result.state_dir}")
    _show(result, console, as_json=as_json)
    raise typer.Exit(0 if result.clean else 1)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


def _show(result: Result, console: Console, *, as_json: bool) -> None:
    found = result.to_json()
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        console.print(f"{name:>28}  {value}", markup=False)


if __name__ == "__main__":
    app(prog_name="orchestrator bench chaos")
