"""`orchestrator workflows discover`, `accept` and `acceptances`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import current_user, with_services
from orchestrator.errors import InvalidInput, Problem
from orchestrator.settings import load_settings


def discover(
    documents: Annotated[
        list[Path] | None, typer.Argument(metavar="OPENAPI…", help="OpenAPI documents.")
    ] = None,
    *,
    workflow: Annotated[
        Path | None,
        typer.Option(help="A workflow document: its steps alone, searched in its sources, too."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write what is proposed into the workflow document.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Propose what undoes each operation that changes something. Nothing is activated."""
    from orchestrator.cli.draw_discovery import draw_document, draw_proposals
    from orchestrator.service.deriving import discover_steps
    from orchestrator.service.discovering import discover_files

    if workflow is None:
        _check_usage(documents, write=write)
        found = discover_files(documents or [])
        value = [each.as_json() for each in found]
        answer(value, lambda: draw_proposals(found), as_json=as_json)
        return
    from orchestrator.wiring_services import open_definitions

    tasks = open_definitions(load_settings()).tasks
    proposals = discover_steps(workflow, documents or [], tasks=tasks, change=write)
    answer(proposals.as_json(), lambda: draw_document(proposals, is_written=write), as_json=as_json)


def _check_usage(documents: list[Path] | None, *, write: bool) -> None:
    if documents and not write:
        return
    found, wanted = ("--write", "--workflow FILE with it") if write else (
        "nothing to read", "OpenAPI documents, or --workflow FILE",
    )  # fmt: skip
    problem = Problem(place="command line", found=found, wanted=wanted)
    raise InvalidInput("there is nothing to discover", problems=[problem])


def accept(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow document.")],
    steps: Annotated[
        list[str] | None, typer.Argument(metavar="STEP…", help="Default: all that wait.")
    ] = None,
    *,
    by: Annotated[str, typer.Option(help="Who accepts; default: you.")] = "",
    reason: Annotated[str, typer.Option(help="Kept with the acceptance.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Take over derived compensations as they stand, so that they may be published and run."""
    from orchestrator.cli.draw_discovery import draw_acceptances

    who = by or current_user()
    noted = with_services(
        lambda services: services.accepting.accept(document, steps or [], by=who, reason=reason)
    )
    answer(noted, lambda: draw_acceptances(noted), as_json=as_json)


def acceptances(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW")], *, as_json: JsonFlag = False
) -> None:
    """Who has accepted what in a workflow, newest first."""
    from orchestrator.cli.draw_discovery import draw_acceptances

    noted = with_services(lambda services: services.accepting.history(workflow))
    answer(noted, lambda: draw_acceptances(noted), as_json=as_json)
