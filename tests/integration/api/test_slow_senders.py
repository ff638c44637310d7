"""Slow and many senders at the faces themselves: each tenant has its share of what stays open."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from orchestrator.embedded.address import LOOPBACK
from orchestrator.embedded.connections import Patience
from orchestrator.mcp.http import each_its_own, http_app
from orchestrator.mcp.server import make_server
from orchestrator.ports import Role
from orchestrator.service.agents import Actor
from tests.integration.api.conftest import Face
from tests.integration.api.test_agents_over_http import HEADERS, INITIALIZE
from tests.slowness import served, told

SLOW = 30
PATIENCE = Patience(connections=12, head_seconds=1.0)


async def test_one_tenants_streams_leave_others_theirs(face: Face) -> None:
    face.app.state.streams.most = 3
    keys = {
        tenant: {"authorization": f"Bearer {await face.key(Role.VIEWER, tenant=tenant)}"}
        for tenant in ("acme", "zeta")
    }
    runs = {tenant: await face.accepted(tenant=tenant) for tenant in keys}
    async with (
        served(face.app, PATIENCE) as place,
        httpx.AsyncClient(base_url=place.url, timeout=5) as client,
        AsyncExitStack() as stack,
    ):

        async def follow(tenant: str) -> httpx.Response:
            stream = client.stream("GET", f"/v1/runs/{runs[tenant]}/events", headers=keys[tenant])
            return await stack.enter_async_context(stream)

        assert [(await follow("acme")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await follow("zeta")).status_code == 200
        await stack.pop_all().aclose()
        async with asyncio.timeout(5):  # their ends are noticed, and their places are free
            while (await follow("acme")).status_code == 429:
                await stack.pop_all().aclose()


async def test_slow_agents_keep_no_other_out(open_face: Face) -> None:
    who = Actor(name="bot", tenant="default", allowed=("*",))
    server = make_server(open_face.services.agents, each_its_own(who), version="1.0")
    app = http_app(server, None, address=LOOPBACK)
    headers = {**HEADERS, "host": f"{LOOPBACK}:1"}
    async with server.session_manager.run(), served(app, PATIENCE) as place:
        slow = [await place.link(b"POST /mcp HTTP/1.1\r\nHost: x\r\n") for _ in range(SLOW)]
        async with httpx.AsyncClient(base_url=place.url, timeout=9, headers=headers) as agent:
            answer = await agent.post("/mcp", json=INITIALIZE)
        assert answer.status_code == 200, answer.text
        for link in slow:  # sent off for others, or when their time was over
            await told(link)
        await place.has(0)
