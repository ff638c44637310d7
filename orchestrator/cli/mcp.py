"""`orchestrator mcp`: the workflows as tools of software agents, over standard input and output."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from orchestrator.cli.session import current_user, with_services
from orchestrator.errors import InvalidSetting, Problem


def mcp(
    *,
    actor: Annotated[str, typer.Option(help="Who acts, for the audit; default: you.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose runs they are.")] = "default",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Workflows that may be used; names with * and ?, repeatable."),
    ] = None,
) -> None:
    """Serve search, describe, execute and status to an agent (Model Context Protocol, stdio).

    An agent's program starts this command and talks to it; nothing is listened on. It ends when
    its input does.
    """
    try:
        from orchestrator.mcp.server import make_server
    except ModuleNotFoundError as error:
        problem = Problem(
            place="packages", found=f"no {error.name}",
            wanted="the extra mcp: pip install 'saga-orchestrator[mcp]'",
        )  # fmt: skip
        raise InvalidSetting(
            "the Model Context Protocol is not there", problems=[problem]
        ) from error
    from orchestrator.cli.main import DISTRIBUTION
    from orchestrator.service.agents import Actor

    who = Actor(name=actor or current_user(), tenant=tenant, allowed=tuple(only or ("*",)))
    number = version(DISTRIBUTION)
    with_services(lambda s: make_server(s.agents, who, version=number).run_stdio_async())
