"""`orchestrator bench`: the judges of a source tree, each a module of its tests.

They start everything that they need privately and end it again. They become this process, so that
options, exit code and signals are theirs; `--json` makes each of them print exactly one JSON object
on standard output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from orchestrator.errors import NotFound, Problem

app = typer.Typer(
    no_args_is_help=True,
    help="Judge this source tree: chaos, planted faults, simulation, crash points, speed.",
)

ROOT = Path(__file__).resolve().parents[2]
"""Of the source tree, where there is one: the package stands in it beside `tests`."""

_OWN_OPTIONS = {
    "allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": [],
}  # fmt: skip


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def chaos(context: typer.Context) -> None:
    """Real processes under seeded faults, then healed, drained and judged; see `--help`."""
    _become("tests.faults.chaos", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def mutants(context: typer.Context) -> None:
    """Planted faults of the engine, each of which the judge has to catch."""
    _become("tests.faults.mutants", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def simulation(context: typer.Context) -> None:
    """Thousands of runs with random faults on a virtual clock."""
    _become("tests.faults.simulation", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def cells(context: typer.Context) -> None:
    """Every crash point in both directions at every place, ended, raised in and frozen."""
    _become("tests.faults.simulation.cells", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def recovery(context: typer.Context) -> None:
    """How soon work goes on after a worker or the broker is gone."""
    _become("tests.faults.chaos.recovery", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def pace(context: typer.Context) -> None:
    """Throughput with a fault every five seconds, as a share of that without."""
    _become("tests.faults.chaos.pace", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def hosts(context: typer.Context) -> None:
    """Worker hosts cut off, lost and upgraded, as network namespaces; needs root (Linux)."""
    _become("tests.faults.hosts", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def engine(context: typer.Context) -> None:
    """How fast runs go, beside an ordinary Celery chain on the same machine."""
    _become("tests.bench.engine", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def capacity(context: typer.Context) -> None:
    """What runs, steps and calls cost on this machine, for `orchestrator capacity`."""
    _become("tests.bench.capacity", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def peers(context: typer.Context) -> None:
    """The same work beside other durable engines; needs the extra `peers`."""
    _become("tests.bench.peers", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def kills(context: typer.Context) -> None:
    """The same kills under the same load, of ours and of other durable engines."""
    _become("tests.bench.kills", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def orphans(context: typer.Context) -> None:
    """What a checkout leaves behind whose third step is declined, beside other Arazzo runners."""
    _become("tests.bench.orphans", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def gate(context: typer.Context) -> None:
    """What the gate makes of an API's limits, as the API sees it."""
    _become("tests.bench.gate", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def api(context: typer.Context) -> None:
    """How soon lists and runs are there at the REST face among a million."""
    _become("tests.bench.api", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def discovery(context: typer.Context) -> None:
    """What compensation discovery makes of labelled operations, right and wrong."""
    _become("tests.bench.discovery", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def check(context: typer.Context) -> None:
    """How long checking hundreds of documents takes, and that none breaks the check."""
    _become("tests.bench.check", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def impact(context: typer.Context) -> None:
    """How soon the blast radius of an API is told among 100,000 active runs."""
    _become("tests.bench.impact", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def audit(context: typer.Context) -> None:
    """How fast a million records of the audit are verified."""
    _become("tests.bench.audit", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def observability(context: typer.Context) -> None:
    """What audit, metrics, logs and traces cost, and how fast audit and blast radius answer."""
    _become("tests.bench.observability", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def explain(context: typer.Context) -> None:
    """Whether the stories of a thousand runs tell of exactly the calls that a server has seen."""
    _become("tests.bench.explain", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def context(context: typer.Context) -> None:
    """What a long workflow costs an agent in tokens, beside plain tool calls."""
    _become("tests.bench.context", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def isolation(context: typer.Context) -> None:
    """What isolated tasks cost to start, and that hostile ones get nothing."""
    _become("tests.bench.isolation", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def search(context: typer.Context) -> None:
    """Whether search finds the workflow for an intent, and how soon among thousands."""
    _become("tests.bench.search", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def agents(context: typer.Context) -> None:
    """A thousand agents at once over MCP before one API with a limit."""
    _become("tests.bench.agents", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def timers(context: typer.Context) -> None:
    """How late 100,000 sleeping runs wake, and that none wakes twice."""
    _become("tests.bench.timers", context.args)


@app.command("map", context_settings=_OWN_OPTIONS, add_help_option=False)
def map_items(context: typer.Context) -> None:
    """One map over 100,000 items, beside as many single runs, and that all of it is undone."""
    _become("tests.bench.maps", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def answers(context: typer.Context) -> None:
    """How soon who submits a short run over HTTP has its outputs."""
    _become("tests.bench.answers", context.args)


@app.command(context_settings=_OWN_OPTIONS, add_help_option=False)
def reads(context: typer.Context) -> None:
    """What looking costs the database that does the work, with and without a read replica."""
    _become("tests.bench.reads", context.args)


def _become(module: str, options: list[str]) -> None:
    """Replace this process by `python -m module options` in the root of the source tree."""
    _check_there(module)
    os.chdir(ROOT)
    command = [sys.executable, "-m", module, *options]
    os.execv(sys.executable, command)  # noqa: S606 -- becoming that module is the whole point


def _check_there(module: str) -> None:
    """Raises NotFound where the package is installed without its source tree."""
    place = ROOT.joinpath(*module.split("."))
    if (place / "__main__.py").is_file() or place.with_suffix(".py").is_file():
        return
    wanted = "the package in its source tree, with the packages that `make setup` installs"
    problem = Problem(place=str(place), found="no such module", wanted=wanted)
    raise NotFound(f"{module} is not beside the package", problems=[problem])
