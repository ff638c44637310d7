"""The `orchestrator` command: puts the groups together, turns errors into exit codes.

0 done · 1 unexpected, or a check that failed · 2 wrong usage · 3 refused: input, definition or
setting · 4 not found · 5 conflict: it has moved on · 6 a server is not reachable
7 too much is waiting, try again later · 130 interrupted
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import (
    agents,
    apis,
    approvals,
    archive,
    audit,
    bench,
    escalations,
    jobs,
    keys,
    payloads,
    proposals,
    retention,
    runs,
    schedules,
    workflows,
)
from orchestrator.cli.api import api, openapi
from orchestrator.cli.capacity import capacity
from orchestrator.cli.demo import demo
from orchestrator.cli.doctor import doctor
from orchestrator.cli.folders import choose_folders
from orchestrator.cli.init import init
from orchestrator.cli.insights import insights
from orchestrator.cli.mcp import mcp
from orchestrator.cli.migrate import migrate
from orchestrator.cli.output import exit_code_of, show_error
from orchestrator.cli.queues import queues
from orchestrator.cli.remote import choose_url
from orchestrator.cli.restoring import restore_check
from orchestrator.cli.slo import slo
from orchestrator.cli.submit import submit
from orchestrator.cli.up import up, worker
from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging

DISTRIBUTION = "saga-orchestrator"

app = typer.Typer(
    name="orchestrator",
    help="Durable workflow runs over rate-limited APIs, undone in reverse order where they fail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    init, demo, up, worker, api, migrate, submit, queues, slo, insights, doctor, restore_check,
    capacity, openapi, mcp,
):  # fmt: skip
    app.command(no_args_is_help=False)(command)
app.add_typer(runs.app, name="runs")
app.add_typer(workflows.app, name="workflows")
app.add_typer(escalations.app, name="escalations")
app.add_typer(jobs.app, name="jobs")
app.add_typer(approvals.app, name="approvals")
app.add_typer(proposals.app, name="proposals")
app.add_typer(apis.app, name="apis")
app.add_typer(keys.app, name="keys")
app.add_typer(agents.app, name="agents")
app.add_typer(schedules.app, name="schedules")
app.add_typer(retention.app, name="retention")
app.add_typer(archive.app, name="archive")
app.add_typer(payloads.app, name="payloads")
app.add_typer(audit.app, name="audit")
app.add_typer(bench.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def main(
    *,
    config_dir: Annotated[
        Path | None, typer.Option(help="Folder with settings.yaml, apis/ and workflows/.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="A deployment elsewhere, by its REST face (or ORCHESTRATOR_URL); the key is in"
            " ORCHESTRATOR_KEY."
        ),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Folder of embedded servers' data and logs.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show and end."),
    ] = False,
) -> None:
    """Options that stand before the command."""
    configure_logging(level="WARNING")
    choose_url(url)
    choose_folders(config_dir=config_dir, state_dir=state_dir)


def run() -> None:
    """Entry point: an error of ours is shown as place, found and wanted, without a traceback."""
    try:
        app()
    except OrchestratorError as error:
        show_error(error, as_json="--json" in sys.argv)
        sys.exit(exit_code_of(error))
    except BrokenPipeError:  # `… | head` has read enough
        sys.stderr.close()
        sys.exit(0)
