"""Five tools over the published workflows. No decisions: words in, words out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

import structlog
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from orchestrator.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    OrchestratorError,
    Overloaded,
    RefusedError,
    Unavailable,
)
from orchestrator.service.agents import (
    Actor,
    Agents,
    Described,
    Found,
    Progress,
    Seen,
    Standing,
)
from orchestrator.service.looking import Looks

_log = structlog.get_logger(__name__)

INSTRUCTIONS = (
    "Runs workflows that change real data: each step is recorded, and when a step fails the steps "
    "before it are undone. First search for a workflow that does what is wanted, describe it to "
    "see its inputs, then execute it. Give each thing that you want done an idempotency_key of its "
    "own, and the same key again when you repeat a call because you do not know whether it "
    "arrived: it then runs once. Read `meaning` in the answer: it says what has happened and what "
    "to do."
)

Question = Annotated[str, Field(description="What is to be done, in a few words.", max_length=1000)]
Limit = Annotated[int, Field(description="How many at most.", ge=1, le=20)]
Name = Annotated[str, Field(description="The workflow's name, as search gives it.", max_length=200)]
Inputs = Annotated[dict[str, Any], Field(description="As the schema of describe wants them.")]
Key = Annotated[
    str, Field(description="Yours, new for each thing to be done; the same for a repeated call.")
]
Wait = Annotated[
    float, Field(description="Seconds to wait for the end before answering.", ge=0, le=60)
]
Labels = Annotated[
    dict[str, str] | None,
    Field(description='Names and short texts by which people find the run: {"ticket": "T-7"}.'),
]
Run = Annotated[str, Field(description="The run, as execute gave it.", min_length=6, max_length=64)]

Reason = Annotated[str, Field(description="Why, for people.", min_length=1, max_length=500)]

_LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ACTS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)


class Caller(NamedTuple):
    """Who calls a tool, and what it has looked at in its session."""

    actor: Actor
    looks: Looks


Callers = Callable[[Context], Caller]


def the_same(actor: Actor) -> Callers:
    """One actor with one session: the other end of standard input and output."""
    caller = Caller(actor, Looks())
    return lambda _: caller


def make_server(agents: Agents, callers: Callers, *, version: str) -> MCPServer:
    """A server whose tools act for whoever calls them."""
    server = MCPServer("orchestrator", instructions=INSTRUCTIONS, version=version)

    @server.tool(annotations=_LOOKS)
    async def search(context: Context, question: Question = "", limit: Limit = 5) -> list[Found]:
        """Find the workflows that fit a purpose, the best first; without a question some of all."""
        async with _told():
            actor, looks = callers(context)
            return await agents.search(question, limit=limit, actor=actor, looks=looks)

    @server.tool(annotations=_LOOKS)
    async def describe(workflow: Name, context: Context) -> Described:
        """What a workflow takes, does and gives."""
        async with _told():
            actor, looks = callers(context)
            return await agents.describe(workflow, actor=actor, looks=looks)

    @server.tool(annotations=_ACTS)
    async def execute(
        workflow: Name, inputs: Inputs, idempotency_key: Key, context: Context,
        wait_seconds: Wait = 10.0, attributes: Labels = None,
    ) -> Standing:  # fmt: skip
        """Have a workflow run, wait a while for its end, and say how it stands."""
        async with _told():
            actor, looks = callers(context)
            return await agents.execute(
                workflow, inputs, key=idempotency_key, wait_seconds=wait_seconds, actor=actor,
                attributes=attributes,
                traceparent=_traceparent(context),
                looks=looks,
                seen=_telling(context),
            )  # fmt: skip

    @server.tool(annotations=_LOOKS)
    async def status(run: Run, context: Context, wait_seconds: Wait = 0.0) -> Standing:
        """How a run stands, and what it has given when it has succeeded."""
        async with _told():
            return await agents.status(
                run, wait_seconds=wait_seconds, actor=callers(context).actor,
                seen=_telling(context),
            )  # fmt: skip

    @server.tool(annotations=_ACTS)
    async def cancel(
        run: Run, reason: Reason, context: Context, wait_seconds: Wait = 10.0
    ) -> Standing:
        """End a run that you have begun: what it did is undone."""
        async with _told(WHEN_CANCELLING):
            return await agents.cancel(
                run, reason=reason, wait_seconds=wait_seconds, actor=callers(context).actor,
                seen=_telling(context),
            )  # fmt: skip

    return server


def _telling(context: Context) -> Seen:
    """To a client that wants to know how far a call has come; others are told nothing."""

    async def seen(progress: Progress) -> None:
        message = f"{progress.status}: {progress.done} of {progress.total} steps"
        await context.report_progress(progress.done, progress.total, message)

    return seen


def _traceparent(context: Context) -> str | None:
    """Of the agent's own trace, which a client that is traced says in `_meta`."""
    found = (context.request_context.meta or {}).get("traceparent")
    return found if isinstance(found, str) else None


@asynccontextmanager
async def _told(
    instead: Mapping[type[OrchestratorError], str] | None = None,
) -> AsyncIterator[None]:
    """Our errors as words that an agent can act on; `instead`: what to do about some of them."""
    try:
        yield
    except OrchestratorError as error:
        _log.info("mcp.refused", kind=type(error).__name__, error=str(error))
        raise ToolError(told(error, instead or {})) from error


_WHAT_TO_DO: Mapping[type[OrchestratorError], str] = {
    InvalidInput: "Nothing was begun. Mend what is named and call again with the same key.",
    NotFound: "Call search to see what there is.",
    Conflict: (
        "This idempotency_key belongs to another wish. Use a new one if this is another thing to "
        "be done; else call again with the inputs of then."
    ),
    Unavailable: "Call again in a while with the same idempotency_key: it then runs once at most.",
    Overloaded: "Call again after that time with the same idempotency_key.",
}


WHEN_CANCELLING: Mapping[type[OrchestratorError], str] = {
    Conflict: "Call status: it says how the run stands, and what can be done.",
    NotAllowed: "Tell whom you work for the id of the run.",
    NotFound: "Use the run as execute gave it.",
}


def told(
    error: OrchestratorError, instead: Mapping[type[OrchestratorError], str] | None = None
) -> str:
    """What is wrong, where, and what to do about it."""
    if isinstance(error, RefusedError | Overloaded):
        lines = [error.message]
        lines += [f"- {p.place}: found {p.found}; wanted {p.wanted}" for p in error.problems]
    else:
        lines = [str(error)]
    known = {**_WHAT_TO_DO, **(instead or {})}
    lines += [text for kind, text in known.items() if isinstance(error, kind)][-1:]
    return "\n".join(lines)
