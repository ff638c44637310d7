"""Who calls: the actor, what it has looked at before, and what its program says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mcp.server.mcpserver import Context

from orchestrator.service.agents import Actor
from orchestrator.service.looking import Choice, Looks


class Caller(NamedTuple):
    """Who calls a tool, and what it has looked at in its session."""

    actor: Actor
    looks: Looks


Callers = Callable[[Context], Caller]


def the_same(actor: Actor) -> Callers:
    """One actor with one session: the other end of standard input and output."""
    caller = Caller(actor, Looks())
    return lambda _: caller


def choice_of(context: Context, reason: str) -> Choice:
    """The reason given, the client's name and version, and `_meta.model` where a client says it."""
    params = context.session.client_params
    info = None if params is None else params.client_info
    client = "" if info is None else f"{info.name} {info.version}".strip()
    return Choice(reason=reason, client=client, model=_meta(context, "model") or "")


def trace_of(context: Context) -> dict[str, str | None]:
    """Of the agent's own trace, which a client that is traced says in `_meta`."""
    return {name: _meta(context, name) for name in ("traceparent", "tracestate")}


def _meta(context: Context, name: str) -> str | None:
    found = (context.request_context.meta or {}).get(name)
    return found if isinstance(found, str) else None
