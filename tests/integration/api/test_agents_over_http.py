"""Many agents at one address: the SDK's own client over HTTP, each with a key of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from orchestrator.core.states import RunStatus
from orchestrator.embedded.address import free_port
from orchestrator.mcp.http import PATH, each_its_own, http_app
from orchestrator.mcp.server import make_server
from orchestrator.ports import Role
from orchestrator.service.agents import Actor
from tests.integration.api.conftest import INPUTS, WORKFLOW, Face

BOUND = Actor(name="nobody", tenant="default", allowed=("pay*",))
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
HEADERS = {"accept": "application/json, text/event-stream"}


@asynccontextmanager
async def listening(face: Face, *, wants_keys: bool = True) -> AsyncIterator[str]:
    """The server's address, while it listens."""
    server = make_server(face.services.agents, each_its_own(BOUND), version="1.0")
    access = face.services.access if wants_keys else None
    port = free_port()
    config = uvicorn.Config(
        http_app(server, access, address="127.0.0.1"), port=port, log_config=None, access_log=False
    )
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve())
    try:
        while not serving.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}{PATH}"
    finally:
        serving.should_exit = True
        await task


@asynccontextmanager
async def agent(url: str, key: str) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        headers = {"authorization": f"Bearer {key}"}
        sender = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=20))
        transport = streamable_http_client(url, http_client=sender)
        yield await stack.enter_async_context(Client(transport))


async def said(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        (content,) = answer.content
        assert isinstance(content, TextContent)
        return content.text
    return answer.structured_content


async def test_each_agent_acts_under_its_own_key_and_sees_its_own_tenant(face: Face) -> None:
    wish = {"workflow": WORKFLOW, "inputs": INPUTS, "wait_seconds": 0}
    keys = [
        await face.key(Role.SUBMITTER, tenant=tenant, name=name)
        for name, tenant in (("bot-1", "acme"), ("bot-2", "zeta"), ("bot-3", "acme"))
    ]
    async with listening(face) as url, AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(agent(url, key)) for key in keys]
        found = await said(agents[0], "search", question="take a payment")
        assert found["result"][0]["workflow"] == WORKFLOW
        runs = await asyncio.gather(
            *(said(one, "execute", **wish, idempotency_key="k") for one in agents[:2])
        )
        first, second = [await face.store.run(each["run"]) for each in runs]
        assert (first.actor, first.tenant) == ("bot-1", "acme")
        assert (second.actor, second.tenant) == ("bot-2", "zeta")
        looked = [
            (await face.store.audit(each.id))[0].data.get("looked") for each in (first, second)
        ]
        assert [len(each) for each in looked] == [2, 1], "each key has looks of its own"
        assert [each[-1]["chose"] for each in looked] == [WORKFLOW, WORKFLOW]
        assert (await said(agents[0], "status", run=first.id))["status"] == "pending"
        assert "no such run of yours" in await said(agents[0], "status", run=second.id)
        assert "begun by another" in await said(agents[2], "cancel", run=first.id, reason="mine?")
        ended = await said(agents[0], "cancel", run=first.id, reason="not wanted", wait_seconds=0)
        assert ended["run"] == first.id
        cancelled = [each.kind for each in await face.store.audit(first.id)]
        assert any("cancel" in kind for kind in cancelled)


async def test_who_waits_is_told_how_far_the_run_has_come(face: Face) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    key = await face.key(Role.SUBMITTER, name="bot-1")
    async with listening(face) as url, agent(url, key) as client:
        wish = {"workflow": WORKFLOW, "inputs": INPUTS, "idempotency_key": "p", "wait_seconds": 0}
        answer = await client.call_tool("execute", wish, progress_callback=progress)
    assert answer.structured_content is not None
    assert answer.structured_content["status"] == RunStatus.PENDING
    steps = len(face.version.plan.steps)
    assert told == [(0, steps, f"pending: 0 of {steps} steps")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401), ({"authorization": "Basic abc"}, 401), ({"authorization": "Bearer ork_x"}, 401),
        ({"authorization": "Bearer VIEWER"}, 403),
        ({"authorization": "Bearer GOOD"}, 200),
        ({"authorization": "Bearer GOOD", "host": "evil.example"}, 421),
        ({"authorization": "Bearer GOOD", "origin": "http://evil.example"}, 403),
        ({"authorization": "Bearer GOOD", "origin": "http://127.0.0.1:8500"}, 200),
    ],
)  # fmt: skip
async def test_who_may_not_come_in_is_told_so(
    face: Face, headers: dict[str, str], status: int
) -> None:
    keys = {"VIEWER": Role.VIEWER, "GOOD": Role.SUBMITTER}
    shown = headers.get("authorization", "")
    for name, role in keys.items():
        if name in shown:
            shown = shown.replace(name, await face.key(role))
    sent = {**HEADERS, **headers} | ({"authorization": shown} if shown else {})
    async with listening(face) as url, httpx.AsyncClient() as client:
        answer = await client.post(url, json=INITIALIZE, headers=sent)
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)


async def test_white_space_after_a_header_is_none_of_its_value(face: Face) -> None:
    name = "io.modelcontextprotocol"
    meta = {
        f"{name}/protocolVersion": "2026-07-28", f"{name}/clientCapabilities": {},
        f"{name}/clientInfo": {"name": "test", "version": "1"},
    }  # fmt: skip
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search", "arguments": {}, "_meta": meta},
    }  # fmt: skip
    headers = HEADERS | {
        "content-type": "application/json", "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call", "mcp-name": "  search \t ",
    }  # fmt: skip

    def posted(url: str) -> tuple[int, str]:
        # The other clients here do not send such a header.
        where = httpx.URL(url).netloc.decode()
        with closing(http.client.HTTPConnection(where, timeout=20)) as connection:
            connection.request("POST", PATH, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    async with listening(face, wants_keys=False) as url:
        status, text = await asyncio.to_thread(posted, url)
    assert status == 200, text
    assert WORKFLOW in text


async def test_without_keys_all_agents_are_the_one_that_the_command_names(face: Face) -> None:
    wish = {"workflow": WORKFLOW, "inputs": INPUTS, "idempotency_key": "n", "wait_seconds": 0}
    async with listening(face, wants_keys=False) as url, Client(url) as client:
        run = await face.store.run((await said(client, "execute", **wish))["run"])
    assert (run.actor, run.tenant) == (BOUND.name, BOUND.tenant)
