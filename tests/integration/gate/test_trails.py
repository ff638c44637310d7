"""What the transport says of an attempt's way: how many requests have left, where to, as whom."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.secret import Secret
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from orchestrator.ports import Trail
from tests.integration.gate.raw_server import body, raw_server, says
from tests.integration.gate.test_http import CONTEXT, LOOPBACK, PUT, http

REFUSED = body(b"{}", status=b"401 Unauthorized")


async def sent(
    transport: HttpTransport, *, may_leave: bool = True, may_go_on: bool = True
) -> Trail:
    """The trail of one call, whatever comes of it."""
    context = msgspec.structs.replace(
        CONTEXT, trail=Trail(), may_leave=lambda: may_leave, may_go_on=lambda: may_go_on
    )
    with contextlib.suppress(HeldUp, InDoubt, NotLanded):
        await transport.send("api", PUT, context, timeout_seconds=0.3)
    return context.trail


async def test_one_request() -> None:
    async with raw_server(says(body(b"{}"))) as server, http(server.url + "/v1") as transport:
        trail = await sent(transport)
    assert trail == Trail(base=server.url + "/v1", credential="", requests=1)


async def test_one_that_is_cut_off_has_left() -> None:
    async with raw_server(says(b"HTTP/1.1 2")) as server, http(server.url) as transport:
        assert (await sent(transport)).requests == 1
    assert len(server.requests) == 1


async def test_none_without_a_connection_or_too_late(unused_tcp_port: int) -> None:
    async with http(f"http://127.0.0.1:{unused_tcp_port}") as transport:
        assert (await sent(transport)).requests == 0
    async with raw_server(says(body(b"{}"))) as server, http(server.url) as transport:
        assert (await sent(transport, may_leave=False)).requests == 0
    assert server.requests == []


@pytest.mark.parametrize("may_go_on", [True, False])
async def test_each_request_after_a_401_counts(tmp_path: Path, may_go_on: bool) -> None:
    secret = tmp_path / "key"
    secret.write_text("old")
    auth = Auth(default=Static(secret=Secret(reference=f"file:{secret}"), name="X-Key"))
    config = replace(LOOPBACK, auth=auth)
    async with raw_server(says(REFUSED)) as server, http(server.url, config) as transport:
        await sent(transport)
        secret.write_text("new")
        before = len(server.requests)
        trail = await sent(transport, may_go_on=may_go_on)
    assert trail.credential == "api: auth.header"
    assert trail.requests == len(server.requests) - before == (2 if may_go_on else 1)
