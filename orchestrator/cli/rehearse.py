"""`orchestrator workflows rehearse`"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.input import parse_inputs
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.settings import load_settings


def rehearse(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow document.")],
    *,
    against: Annotated[
        list[str],
        typer.Option(metavar="[API=]URL", help="A sandbox, never the real thing; for each API."),
    ],
    workflow: Annotated[
        str | None, typer.Option(help="Which workflow, where the document has several.")
    ] = None,
    one: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="name=value; repeatable.")
    ] = None,
    inputs: Annotated[str | None, typer.Option(help="All inputs as one JSON object.")] = None,
    allow_private_addresses: Annotated[
        bool, typer.Option(help="The sandbox may stand on this machine or in this network.")
    ] = False,
    note: Annotated[
        bool, typer.Option("--note", help="When all is well, write x-rehearsed into the document.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Do each step against a sandbox and undo it, and say which undos really restore.

    Exit code 1 when an undo fails or has its effect twice, or a step is not reached.
    """
    from orchestrator.cli.draw_rehearsal import draw_rehearsal
    from orchestrator.service.rehearsing import note_rehearsal, read_rehearsable
    from orchestrator.wiring_services import open_definitions, wall_clock
    from orchestrator.wiring_services import rehearse as run

    settings = load_settings()
    given = parse_inputs(one or [], inputs)
    tasks = open_definitions(settings).tasks
    found = read_rehearsable(document, workflow_id=workflow, tasks=tasks)
    seen = asyncio.run(
        run(
            settings, found, given, against=found.addresses(against),
            allow_private_addresses=allow_private_addresses,
        )
    )  # fmt: skip
    answer(seen, lambda: draw_rehearsal(seen), as_json=as_json)
    if not seen.is_good:
        raise typer.Exit(1)
    if note:
        note_rehearsal(document, seen.workflow, on=wall_clock().date())
