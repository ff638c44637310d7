"""What benches share that measure one load at a place of their own: set up, told, and judged."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, NoReturn

import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine.place import Place, Wish, set_up
from tests.faults.chaos.stage import new_folder, remove


class Database(StrEnum):
    """Which one holds the truth."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def measured(
    load: str, number: int, *, workers: int, database: Database, as_json: bool,
    measure: Callable[[Place, Console], Awaitable[dict[str, Any]]],
) -> NoReturn:  # fmt: skip
    """Set a place up for so many runs, measure, and print what was found.

    Ends the command: with 1 where nothing could be measured, or `kept` was not.
    """
    configure_logging(level="ERROR")
    console = Console(stderr=True, highlight=False)
    name = "postgres" if database is Database.POSTGRESQL else "sqlite"
    wish = Wish(load=load, runs=number, workers=workers, database=name)
    folder = new_folder()

    async def work(place: Place) -> dict[str, Any]:
        return await measure(place, console)

    try:
        with set_up(wish, folder) as place:
            found = asyncio.run(work(place))
    except (OrchestratorError, TimeoutError, RuntimeError) as error:
        console.print(f"not measured: {error}; its folder is {folder}", markup=False)
        raise typer.Exit(1) from None
    remove(folder)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        console.print(json.dumps(found, indent=1), markup=False)
    raise typer.Exit(0 if found["kept"] else 1)
