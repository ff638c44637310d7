"""What goes over HTTP is tested on both event loops: workers run on uvloop, others may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from orchestrator.coordination.connect import connect
from tests.integration.gate.shared_servers import MemoryServer, Server, ValkeyServer

_HTTP = frozenset({"test_http", "test_hostile_answers", "test_hostile_tls", "test_way_out"})


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.stem in _HTTP:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(params=[pytest.param("valkey", marks=pytest.mark.broker), "memory"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryServer()
        return
    client = connect(request.getfixturevalue("valkey_url"))
    yield ValkeyServer(client)
    await client.aclose()
