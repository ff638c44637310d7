"""Many agents at once: the SDK's own client, a connection and a key for each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from tests.bench.gate.flows import Wanted

WAIT_SECONDS = 50.0
"""Of one call; who is not done by then asks again."""
CONNECTING_AT_ONCE = 50
_SETTLED = frozenset({"succeeded", "compensated", "abandoned", "escalated"})


@dataclass(kw_only=True)
class Agent:
    """One of them, and what became of its errand."""

    key: str
    wanted: Wanted
    status: str = ""  # how its run ended; what went wrong where it did not
    seconds: float | None = None  # from when all began until it knew
    calls: list[float] = field(default_factory=list)  # seconds of calls that wait for nothing
    asked_again: int = 0


def know_schemas() -> None:
    """Check each schema of an answer once, not once for each agent.

    The client checks it at its first call of a tool, in 5 ms or so. Here one process is all agents
    and would do nothing else; each of them has a machine of its own for that.
    """
    check, known = Draft202012Validator.check_schema, set[str]()

    def check_once(schema: Any, *rest: Any, **options: Any) -> None:
        text = json.dumps(schema, sort_keys=True)
        if text not in known:
            check(schema, *rest, **options)
            known.add(text)

    Draft202012Validator.check_schema = staticmethod(check_once)


async def play(url: str, agents: Sequence[Agent], *, patience: float) -> float:
    """Connect all, then have all begin at once; the seconds until the last one is done."""
    room, together = asyncio.Semaphore(CONNECTING_AT_ONCE), Together(len(agents))
    outcomes = await asyncio.gather(
        *(_one(url, agent, room, together, patience) for agent in agents), return_exceptions=True
    )
    for agent, outcome in zip(agents, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            agent.status = _innermost(outcome)
    return time.monotonic() - together.begun


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Together:
    """Lets nobody begin before all are there."""

    def __init__(self, count: int) -> None:
        self._missing, self._all = count, asyncio.Event()
        self.begun = 0.0

    async def arrive(self) -> None:
        """Wait for the others."""
        self._missing -= 1
        if not self._missing:
            self.begun = time.monotonic()
            self._all.set()
        await self._all.wait()


async def _one(
    url: str, agent: Agent, room: asyncio.Semaphore, together: Together, patience: float
) -> None:
    headers = {"authorization": f"Bearer {agent.key}"}
    async with AsyncExitStack() as stack:  # entered and left by one task, as the SDK wants it
        async with room:
            http = httpx2.AsyncClient(headers=headers, timeout=4 * WAIT_SECONDS, verify=False)
            await stack.enter_async_context(http)
            client = Client(streamable_http_client(url, http_client=http))
            await stack.enter_async_context(client)
            await client.list_tools()
        await together.arrive()
        await _errand(agent, client, together.begun, patience)


async def _errand(agent: Agent, client: Client, begun: float, patience: float) -> None:
    """Look for the workflow, have it run, and ask until it is over."""
    wanted = agent.wanted
    try:
        async with asyncio.timeout(patience):
            await _timed(agent, client, "search", question=wanted.flow.name)
            found = await said(
                client, "execute", workflow=wanted.flow.name, inputs={"run": wanted.name},
                idempotency_key=wanted.name, wait_seconds=WAIT_SECONDS,
            )  # fmt: skip
            while found["status"] not in _SETTLED:
                agent.asked_again += 1
                found = await said(client, "status", run=found["run"], wait_seconds=WAIT_SECONDS)
            seconds = time.monotonic() - begun
            await _timed(agent, client, "status", run=found["run"])
            agent.status, agent.seconds = found["status"], seconds
    except TimeoutError:
        agent.status = "not done in time"
    except RuntimeError as error:
        agent.status = str(error)


async def _timed(agent: Agent, client: Client, tool: str, **arguments: Any) -> None:
    begun = time.monotonic()
    await said(client, tool, **arguments)
    agent.calls.append(time.monotonic() - begun)


async def said(client: Client, tool: str, **arguments: Any) -> Mapping[str, Any]:
    """The answer as data. Raises RuntimeError for a refusal."""
    result = await client.call_tool(tool, arguments)
    text = _text(result)
    if result.is_error:
        raise RuntimeError(text)
    found: Mapping[str, Any] = json.loads(text)
    return found


def _text(result: CallToolResult) -> str:
    return "".join(each.text for each in result.content if isinstance(each, TextContent))
