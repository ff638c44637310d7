"""`orchestrator mcp`: the workflows as tools of software agents, over stdio or HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.output import stderr
from orchestrator.cli.session import current_user, with_services
from orchestrator.embedded.address import KEPT_SECONDS, LOOPBACK, is_loopback
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.service.agents import Actor
    from orchestrator.wiring_services import Services


CROWD_SECONDS = 60.0
"""Agents that all come at once wait so long for each other's statements before one is refused."""


def mcp(
    *,
    actor: Annotated[str, typer.Option(help="Who acts, for the audit; default: you.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose runs they are.")] = "default",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Workflows that may be used; names with * and ?, repeatable."),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Listen for many agents, each with a key of its own.")
    ] = False,
    address: Annotated[str, typer.Option(help="With --http: where to listen.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="With --http.", min=0, max=65535)] = 8500,
    host: Annotated[
        list[str] | None,
        typer.Option(help="With --http: a name under which it is reached, repeatable."),
    ] = None,
) -> None:
    """Serve search, describe, execute, status and cancel to agents (Model Context Protocol).

    Over standard input and output an agent's program starts this command and talks to it; it ends
    when its input does. With --http it listens at /mcp until Ctrl-C; agents show keys
    (`orchestrator keys create NAME --role submitter`) unless the setting api_auth is none.
    """
    try:
        from orchestrator.mcp.callers import the_same
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
    if http:
        import uvloop

        where = Listening(address=address, port=port, hosts=tuple(host or ()))
        wants_keys = load_settings().api_auth == "keys"
        check_listening(where, wants_keys=wants_keys)
        stderr.print(f"MCP at http://{address}:{port}/mcp; Ctrl-C ends it", style="dim")
        with_services(
            lambda s: _listen(s, who, where, number, wants_keys=wants_keys),
            pool_wait_seconds=CROWD_SECONDS,
            new_loop=uvloop.new_event_loop,
        )
    else:
        with_services(
            lambda s: make_server(s.agents, the_same(who), version=number).run_stdio_async()
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """Where agents come to."""

    address: str
    port: int
    hosts: tuple[str, ...] = ()


def check_listening(where: Listening, *, wants_keys: bool) -> None:
    """Raises InvalidSetting where whoever reaches this machine could act without a key."""
    if wants_keys or is_loopback(where.address):
        return
    problem = Problem(
        place="--address", found=where.address,
        wanted="a loopback address, or api_auth: keys in the settings",
    )  # fmt: skip
    raise InvalidSetting("others could have workflows run without a key", problems=[problem])


async def _listen(
    services: Services, who: Actor, where: Listening, number: str, *, wants_keys: bool
) -> None:
    import uvicorn

    from orchestrator.embedded.connections import Patience, bounded
    from orchestrator.mcp.http import each_its_own, http_app
    from orchestrator.mcp.server import make_server

    server = make_server(services.agents, each_its_own(who), version=number)
    access = services.access if wants_keys else None
    app = http_app(server, access, address=where.address, hosts=where.hosts)
    config = uvicorn.Config(
        app, host=where.address, port=where.port, log_config=None, access_log=False,
        timeout_keep_alive=KEPT_SECONDS,
        http=bounded(Patience(connections=load_settings().api_connections)),
    )  # fmt: skip
    await uvicorn.Server(config).serve()
