"""`orchestrator bench engine`: the same work by the orchestrator and by an ordinary Celery chain.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine import profiling
from tests.bench.engine.history import Amounts
from tests.bench.engine.measuring import Options, measure
from tests.bench.engine.place import Wish
from tests.bench.engine.printing import Printer


class Load(StrEnum):
    """The work."""

    NOOP = "noop"
    IO20 = "io20"
    IO200 = "io200"
    FAIL = "fail"
    SUBMIT = "submit"
    LATENCY = "latency"
    INFLIGHT = "inflight"
    HISTORY = "history"


class Database(StrEnum):
    """Which one holds the truth."""

    POSTGRES = "postgres"
    SQLITE = "sqlite"
    BOTH = "both"


class Against(StrEnum):
    """Who else does it, in turn."""

    CHAIN = "celery-chain"
    NONE = "none"


class ServersOn(StrEnum):
    """The cores of broker and database while submission is measured."""

    ANY = "any"
    OTHERS = "others"
    SAME = "same"


_IN_BULK = (Load.NOOP, Load.IO20, Load.FAIL)
_LOADS = (
    "noop: steps without content. io20, io200: each step POSTs to an API that answers after 20 or"
    " 200 ms. fail: the last step is refused, the others are undone. submit: acceptance alone."
    " latency: one run at a time. inflight: all runs wait in an API that does not answer."
    " history: noop with few and with many finished runs in the tables."
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    load: Annotated[Load, typer.Option(help=f"The work. {_LOADS}")] = Load.NOOP,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each round.")] = 2000,
    steps: Annotated[int, typer.Option(min=2, max=50, help="Steps of each run.")] = 5,
    workers: Annotated[
        str, typer.Option(help="Worker processes; io200 takes several numbers (1,2,4).")
    ] = "2",
    db: Annotated[
        Database, typer.Option(help="The database; noop takes both, in turn.")
    ] = Database.POSTGRES,
    pairs: Annotated[int, typer.Option(min=1, max=99, help="Repetitions.")] = 3,
    against: Annotated[
        Against, typer.Option(help="Who else does it (noop, io20, fail, submit, latency).")
    ] = Against.CHAIN,
    max_inline_steps: Annotated[
        int | None,
        typer.Option(min=0, help="That setting of our workers; 0: every step is a message."),
    ] = None,
    flower: Annotated[
        bool, typer.Option("--flower", help="Ours with Flower attached over ours without.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="One round more with py-spy on one of our workers: .svg (flame graph),"
            " .json (speedscope) or anything else (raw stacks); shares by part are printed."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=0, help="Runs that one call submits; 0: all of a round.")
    ] = 0,
    servers_on: Annotated[
        ServersOn,
        typer.Option(
            help="submit: the submitter, ours or theirs, has the first core; broker and database"
            " run on any, on the others, or on the same one."
        ),
    ] = ServersOn.ANY,
    join_and_drain: Annotated[
        bool,
        typer.Option(
            "--join-and-drain",
            help="io200: one round more in which workers join and are drained; exit code 1 when a"
            " run or a call is lost, or a run ends twice.",
        ),
    ] = False,
    gated: Annotated[
        bool,
        typer.Option(
            "--gated", help="io20, io200: the API has a rate and slots, wide enough for all calls."
        ),
    ] = False,
    few: Annotated[int, typer.Option(min=1000, help="history: finished runs, few.")] = 10_000,
    many: Annotated[int, typer.Option(min=1000, help="history: and many.")] = 2_000_000,
    details: Annotated[
        int,
        typer.Option(
            min=0,
            help="history: the newest so many have steps, attempts and audit, too (11 KB each); all"
            " others their row in `runs` alone.",
        ),
    ] = 200_000,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="history: plans and buffers of what was executed, in both."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The same work by the orchestrator and by an ordinary Celery chain, in turn."""
    configure_logging(level="ERROR")
    counts = _counts(workers)
    _refuse(load in _IN_BULK or not flower, "--flower", "--load noop, io20 or fail")
    _refuse(load in _IN_BULK or profile is None, "--profile", "--load noop, io20 or fail")
    _refuse(load in (Load.IO20, Load.IO200) or not gated, "--gated", "--load io20 or io200")
    _refuse(load is Load.IO200 or not join_and_drain, "--join-and-drain", "--load io200")
    _refuse(load is Load.IO200 or len(counts) == 1, "several --workers", "--load io200")
    both, sqlite = db is Database.BOTH, db is Database.SQLITE
    _refuse((load is Load.NOOP and not flower) or not both, "--db both", "--load noop")
    _refuse(load is not Load.HISTORY or not sqlite, "--load history", "--db postgres")
    wish = Wish(
        load=load.value, runs=runs, steps=steps,
        workers=1 if load is Load.INFLIGHT else counts[min(1, len(counts) - 1)],
        database=Database.POSTGRES.value if both else db.value, batch=batch,
        settings={} if max_inline_steps is None else {"max_inline_steps": max_inline_steps},
        count_keys=join_and_drain, gated=gated,
    )  # fmt: skip
    options = Options(
        pairs=pairs, against=against.value, flower=flower, both_databases=both,
        by_workers=counts, join_and_drain=join_and_drain, profile=profile,
        servers_on=servers_on.value,
        amounts=Amounts(few=few, many=many, details=details, explain=explain),
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    found = _measured(wish, options, console)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        console.print(json.dumps(found, indent=1), markup=False)
    raise typer.Exit(0 if found.get("kept", True) else 1)


def _measured(wish: Wish, options: Options, console: Console) -> dict[str, Any]:
    try:
        if options.profile is not None:
            profiling.program()
        return measure(wish, options, Printer(console))
    except (OrchestratorError, TimeoutError, RuntimeError) as error:
        console.print(f"not measured: {error}", markup=False)
        raise typer.Exit(1) from None


def _counts(text: str) -> tuple[int, ...]:
    """Numbers of workers, as they are tried in turn."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 16 for part in parts):
        raise typer.BadParameter(f"{text!r} is not 1 to 16, or several of those: 1,2,4")
    return tuple(sorted({int(part) for part in parts}))


def _refuse(fits: bool, option: str, needs: str) -> None:
    if not fits:
        raise typer.BadParameter(f"{option} needs {needs}")


if __name__ == "__main__":
    app(prog_name="orchestrator bench engine")
