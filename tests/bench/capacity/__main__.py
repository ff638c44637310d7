"""`orchestrator bench capacity`: measure what runs, steps and calls cost, fit, and try the fit.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.core.capacity import Costs
from orchestrator.errors import OrchestratorError
from orchestrator.service.sizing import to_json
from orchestrator.telemetry.logging import configure_logging
from tests.bench.capacity.fitting import Compared, compare, fit
from tests.bench.capacity.observing import Observed, Setup, observe
from tests.bench.engine import cores

WITHIN = 0.2
FITTED = tuple(
    (load, steps, workers, runs * workers)
    for load, steps, runs in (
        ("noop", 2, 1500), ("noop", 10, 500), ("io20", 2, 1000), ("io20", 10, 300),
    )
    for workers in (1, 2)
)  # fmt: skip
HELD_BACK = (("noop", 5, 1, 1500), ("io200", 5, 1, 1000))
"""Load, steps, workers, runs. A worker that has cores beside it uses less CPU for a run with calls
than one that shares them, so the costs are fitted to both. None that is held back has the steps of
those fitted; the second not their time of a call either."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    rounds: Annotated[
        int, typer.Option(min=1, max=20, help="Of each configuration; the best counts.")
    ] = 3,
    share: Annotated[
        float, typer.Option(min=0.01, max=10, help="Of the runs that are usual; less is quicker.")
    ] = 1.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write the costs; `orchestrator capacity --costs` reads them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What runs, steps and calls cost here, and whether that predicts other runs within 20 %.

    Exit code 1 where a figure is further off.
    """
    configure_logging(level="ERROR")
    console = Console(stderr=True, highlight=False)
    cores.open_many_files()
    try:
        fitted, held_back = _observed(rounds, share, console)
    except (OrchestratorError, TimeoutError, RuntimeError) as error:
        console.print(f"not measured: {str(error) or type(error).__name__}", markup=False)
        raise typer.Exit(1) from None
    costs = fit(fitted)
    compared = compare(costs, held_back)
    found = _report(costs, [*fitted, *held_back], compared)
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")
    for each in compared:
        console.print(
            f"{each.setup:>28} {each.figure:<36} predicted {each.predicted:.6g}"
            f" measured {each.measured:.6g} ({each.off:+.0%})", markup=False,
        )  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    raise typer.Exit(0 if all(abs(each.off) <= WITHIN for each in compared) else 1)


def _observed(
    rounds: int, share: float, console: Console
) -> tuple[list[Observed], list[Observed]]:  # fmt: skip
    """In turn, so that a machine that has more to do meanwhile has it for all."""
    fitted, held_back = list[Observed](), list[Observed]()
    for _ in range(rounds):
        for group, made in ((FITTED, fitted), (HELD_BACK, held_back)):
            for load, steps, workers, runs in group:
                few = max(20, round(runs * share))
                seen = observe(Setup(load=load, steps=steps, workers=workers, runs=few))
                made.append(seen)
                used = {each.value: f"{value / few:.4g}" for each, value in seen.used.items()}
                console.print(
                    f"{seen.setup.name}: {seen.runs_per_second:.0f} runs/s; of a run {used}",
                    markup=False, soft_wrap=True,
                )  # fmt: skip
    return fitted, held_back


def _report(
    costs: Costs, rounds: Sequence[Observed], compared: Sequence[Compared]
) -> dict[str, Any]:  # fmt: skip
    return {
        "measured": {
            "on": f"{os.cpu_count()} cores, {_processor()}",
            "load_average": round(os.getloadavg()[0], 1),
            "at": datetime.now(UTC).date().isoformat(),
            "release": version("saga-orchestrator"),
            "rounds": [
                {"setup": seen.setup.name, "runs_per_second": round(seen.runs_per_second, 1)}
                for seen in rounds
            ],
        },
        **to_json(costs),
        "held_back": [
            {
                "setup": each.setup, "figure": each.figure, "predicted": each.predicted,
                "measured": each.measured,
            }
            for each in compared
        ],
    }  # fmt: skip


def _processor() -> str:
    named = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]  # fmt: skip
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    app(prog_name="orchestrator bench capacity")
