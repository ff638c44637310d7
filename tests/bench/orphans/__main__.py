"""`orchestrator bench orphans`: who cleans up when the third step of a checkout is declined.

Every runner gets a shop of its own and the same document. What is left is what the shop holds, not
what the runner says. A runner that did not come as far as the third step is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.cli.draw_common import table
from orchestrator.core.states import RunStatus
from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.orphans import ours
from tests.bench.orphans.documents import INPUTS, write_documents
from tests.bench.orphans.runners import RUNNERS, Runner
from tests.bench.orphans.shop import Shop, open_shop

OURS = "saga-orchestrator"
_STATE_DIR = Path(".orchestrator")
_COLUMNS = ("runner", "version", "step 3", "ended", "customers", "charges")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one runner left behind. The counts are None unless it reached the third step."""

    runner: str
    version: str
    reached: bool
    ended: str  # its own word for it, or why it was not run
    customers: int | None = None
    charges: int | None = None

    @property
    def orphans(self) -> int | None:
        """Things that nobody knows of any more."""
        if self.customers is None or self.charges is None:
            return None
        return self.customers + self.charges


def outcome(runner: str, at: str, work: Callable[[Shop], str]) -> Outcome:
    """`work` runs the document against the shop and says how that ended."""
    with open_shop() as shop:
        try:
            ended = work(shop)
        except OrchestratorError as error:
            return not_run(runner, at, str(error))
        if not shop.declined:
            asked = ", ".join(shop.seen) or "nothing"
            return not_run(runner, at, f"{ended}; it asked for {asked}")
        return Outcome(
            runner=runner, version=at, reached=True, ended=ended,
            customers=len(shop.customers), charges=len(shop.charges),
        )  # fmt: skip


def not_run(runner: str, at: str, why: str) -> Outcome:
    """Neither good nor bad."""
    return Outcome(runner=runner, version=at, reached=False, ended=f"not run: {why}")


def of_ours() -> Outcome:
    """On a worker."""

    def work(shop: Shop) -> str:
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            status = asyncio.run(ours.check_out(shop, Path(folder), INPUTS))
        return RunStatus(status).value

    return outcome(OURS, version(OURS), work)


def of_other(runner: Runner, state_dir: Path, *, install: bool) -> Outcome:
    """By a process of its own."""

    def work(shop: Shop) -> str:
        if install:
            runner.install(state_dir)
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            write_documents(Path(folder), shop.address)
            return f"exit {runner.run(state_dir, Path(folder))}"

    if not install and (why := runner.missing(state_dir)):
        return not_run(runner.package, runner.version, why)
    return outcome(runner.package, runner.version, work)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    install: Annotated[
        bool, typer.Option("--install", help="Install the other runners first, from PyPI and npm.")
    ] = False,
    state_dir: Annotated[Path, typer.Option(help="Where they are installed.")] = _STATE_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One checkout whose third step is declined, by the orchestrator and by other runners.

    The exit code is 1 when ours leaves anything, or did not come as far.
    """
    configure_logging(level="ERROR")
    found = [of_ours(), *(of_other(one, state_dir, install=install) for one in RUNNERS)]
    if as_json:
        rows = [{**asdict(one), "orphans": one.orphans} for one in found]
        sys.stdout.write(json.dumps({"runners": rows}) + "\n")
    else:
        Console().print(drawn(found))
    if found[0].orphans != 0:
        raise typer.Exit(1)


def drawn(outcomes: Sequence[Outcome]) -> Table:
    """One line for each runner, with what is left; what was not counted is a dash."""
    made = table(*_COLUMNS, right=_COLUMNS[4:], wide=("ended",))
    for one in outcomes:
        counts = ("–" if count is None else str(count) for count in (one.customers, one.charges))
        made.add_row(one.runner, one.version, "yes" if one.reached else "–", one.ended, *counts)
    return made


if __name__ == "__main__":
    app(prog_name="orchestrator bench orphans")
