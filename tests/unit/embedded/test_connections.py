"""Who is slow on purpose, or comes too often, is bounded, and others get their share."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.embedded.connections import Patience
from tests.slowness import dripping, served, told

QUICK = Patience(
    connections=8, head_seconds=0.3, body_seconds=0.3, body_bytes=100, unread_seconds=0.3
)
PATIENT = Patience(connections=8)
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
SLOW = 30
KINDS = pytest.mark.parametrize("kind", [HttpToolsProtocol, H11Protocol])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was; at /endless it goes on for ever, at /held it says nothing."""
    if scope["path"] == "/held":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0.001)  # when it has gone, `send` does nothing, without waiting
    await send({"type": "http.response.body", "body": str(length).encode(), "more_body": False})


@KINDS
async def test_half_heads_keep_no_whole_request_out(kind: Any) -> None:
    async with served(app, PATIENT, kind) as place:
        slow = [await place.link(HEAD) for _ in range(SLOW)]
        async with httpx.AsyncClient(base_url=place.url, timeout=5) as well:
            for _ in range(3):
                answer = await well.post("/", content="four", headers={"connection": "close"})
                assert answer.text == "4"
                assert place.connections <= PATIENT.connections
        gone = [link for link in slow if link[0].at_eof() or link[0].exception() is not None]
        assert len(gone) > SLOW - PATIENT.connections
        for _, writer in slow:
            writer.close()


@KINDS
@pytest.mark.parametrize(
    ("first", "again"),
    [(b"", b""), (HEAD, b"X-A: b\r\n"), (HEAD + b"Content-Length: 5000\r\n\r\n", b"{")],
    ids=["says nothing", "a head without end", "a body by bytes"],
)
async def test_who_does_not_come_to_an_end_is_sent_off(
    kind: Any, first: bytes, again: bytes
) -> None:
    async with served(app, QUICK, kind) as place:
        answer = await dripping(await place.link(first), again)
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b"reset"
        assert place.connections == 0


async def test_empty_lines_are_no_request() -> None:
    async with served(app, QUICK) as place:
        answer = await dripping(await place.link(HEAD + b"Content-Length: 0\r\n\r\n"), b"\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert place.connections == 0


@KINDS
async def test_a_body_that_keeps_its_pace_is_taken_however_long(kind: Any) -> None:
    body, part = b" " * 3000, 150
    async with served(app, QUICK, kind) as place:
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        link = await place.link(HEAD + length)
        for begin in range(0, len(body), part):  # for a second, in which it is looked at thrice
            link[1].write(body[begin : begin + part])
            await asyncio.sleep(0.05)
        answer = await told(link)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"3000" in answer


@KINDS
async def test_an_answer_that_nobody_reads_is_given_up(kind: Any) -> None:
    async with served(app, QUICK, kind) as place:
        wish = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
        link = await place.link(wish, receive_bytes=4096)
        await place.has(1)
        await place.has(0)
        link[1].close()


@KINDS
async def test_where_all_are_at_work_the_next_is_told_so(kind: Any) -> None:
    held = b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with served(app, PATIENT, kind) as place:
        at_work = [await place.link(held) for _ in range(PATIENT.connections)]
        await place.has(PATIENT.connections, at_work=PATIENT.connections)
        answer = await told(await place.link(held))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        at_work.pop()[1].close()
        await place.has(PATIENT.connections - 1)
        async with httpx.AsyncClient(base_url=place.url, timeout=5) as well:
            assert (await well.get("/")).text == "0"
        for _, writer in at_work:
            writer.close()
