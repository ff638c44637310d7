"""Four tools over the published workflows. No decisions: words in, words out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import structlog
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from orchestrator.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OrchestratorError,
    Overloaded,
    RefusedError,
    Unavailable,
)
from orchestrator.service.agents import Actor, Agents, Described, Found, Standing
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

_LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ACTS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)


def make_server(agents: Agents, actor: Actor, *, version: str) -> MCPServer:
    """A server that acts for `actor`, for one session."""
    looks = Looks()
    server = MCPServer("orchestrator", instructions=INSTRUCTIONS, version=version)

    @server.tool(annotations=_LOOKS)
    async def search(question: Question = "", limit: Limit = 5) -> list[Found]:
        """Find the workflows that fit a purpose, the best first; without a question some of all."""
        async with _told():
            return await agents.search(question, limit=limit, actor=actor, looks=looks)

    @server.tool(annotations=_LOOKS)
    async def describe(workflow: Name) -> Described:
        """What a workflow takes, does and gives."""
        async with _told():
            return await agents.describe(workflow, actor=actor, looks=looks)

    @server.tool(annotations=_ACTS)
    async def execute(
        workflow: Name, inputs: Inputs, idempotency_key: Key, context: Context,
        wait_seconds: Wait = 10.0, attributes: Labels = None,
    ) -> Standing:  # fmt: skip
        """Have a workflow run, wait a while for its end, and say how it stands."""
        async with _told():
            return await agents.execute(
                workflow, inputs, key=idempotency_key, wait_seconds=wait_seconds, actor=actor,
                attributes=attributes,
                traceparent=_traceparent(context),
                looks=looks,
            )  # fmt: skip

    @server.tool(annotations=_LOOKS)
    async def status(run: Run, wait_seconds: Wait = 0.0) -> Standing:
        """How a run stands, and what it has given when it has succeeded."""
        async with _told():
            return await agents.status(run, wait_seconds=wait_seconds, actor=actor)

    return server


def _traceparent(context: Context) -> str | None:
    """Of the agent's own trace, which a client that is traced says in `_meta`."""
    found = (context.request_context.meta or {}).get("traceparent")
    return found if isinstance(found, str) else None


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Our errors as words that an agent can act on."""
    try:
        yield
    except OrchestratorError as error:
        _log.info("mcp.refused", kind=type(error).__name__, error=str(error))
        raise ToolError(told(error)) from error


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


def told(error: OrchestratorError) -> str:
    """What is wrong, where, and what to do about it."""
    if isinstance(error, RefusedError | Overloaded):
        lines = [error.message]
        lines += [f"- {p.place}: found {p.found}; wanted {p.wanted}" for p in error.problems]
    else:
        lines = [str(error)]
    lines += [text for kind, text in _WHAT_TO_DO.items() if isinstance(error, kind)][-1:]
    return "\n".join(lines)
