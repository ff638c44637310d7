"""Answers that break the rules, by accident or on purpose: each has an outcome and a reason.

All of them arrive after the request has left, so that the outcome is "in doubt" wherever the answer
cannot be used. `docs/hostile.md` has the same list for people.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.secret import Secret
from orchestrator.errors import InDoubt
from tests.integration.gate.raw_server import Answer, RawServer, body, raw_server, says
from tests.integration.gate.test_http import GET, LOOPBACK, PUT, http, send
from tests.sweeps import so_many, sweep

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEAD = replace(GET, method="HEAD")


def with_length(length: bytes, content: bytes = b"{}") -> bytes:
    return OK + b"Content-Length: " + length + b"\r\n\r\n" + content


def with_coding(coding: bytes) -> bytes:
    return OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


def with_status(status: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return version + b" " + status + b" X\r\nContent-Length: 2\r\n\r\n{}"


def with_header(line: bytes) -> bytes:
    return OK + line + b"\r\nContent-Length: 2\r\n\r\n{}"


def packed(content: bytes, encoding: bytes = b"gzip") -> bytes:
    return body(content, b"Content-Encoding: " + encoding)


async def ask(
    answer: bytes | Answer,
    request: FrozenRequest = PUT,
    *,
    config: ApiConfig = LOOPBACK,
    close: bool = False,
    timeout: float = 5.0,
) -> Response:
    told = says(answer, close=close) if isinstance(answer, bytes) else answer
    async with raw_server(told) as server, http(server.url, config) as transport:
        return await send(transport, request, timeout)


# --- answers that are refused ---------------------------------------------------------------------

NOT_HTTP = "an answer that is not HTTP"
REFUSED = {
    # what is no answer at all
    "HTTP/0.9": (b"{}\r\n", NOT_HTTP),
    "binary garbage": (b"\x00\x01\x02\x03" * 10 + b"\r\n\r\n", NOT_HTTP),
    "garbage before the status line": (b"xx\r\n" + body(b"{}"), NOT_HTTP),
    "frames of HTTP/2": (b"\0\0\x12\4\0\0\0\0\0" + b"\0" * 18, NOT_HTTP),
    "an alert of TLS": (b"\x15\x03\x03\x00\x02\x02\x46", NOT_HTTP),
    # status lines
    "another protocol": (with_status(b"200", b"ICY"), NOT_HTTP),
    "version 0.9": (with_status(b"200", b"HTTP/0.9"), "not HTTP/1.1 or HTTP/1.0"),
    "version 2": (with_status(b"200", b"HTTP/2.0"), "not HTTP/1.1 or HTTP/1.0"),
    "an invented version": (with_status(b"200", b"HTTP/3.7"), NOT_HTTP),
    "status 0": (with_status(b"000"), r"not HTTP \(status 000\)"),
    "status 99": (with_status(b"099"), r"not HTTP \(status 099\)"),
    "status of four digits": (with_status(b"1000"), NOT_HTTP),
    "status of two digits": (with_status(b"20"), NOT_HTTP),
    "negative status": (with_status(b"-20"), NOT_HTTP),
    "status of letters": (with_status(b"2xx"), NOT_HTTP),
    "no status": (with_status(b""), NOT_HTTP),
    "a long reason": (with_status(b"200 " + b"a" * 9000), "Got more than 8190 bytes"),
    # hints and switches
    "a flood of hints": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "more than 20 answers of status"),
    "a switch that nobody asked for": (
        b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nxx",
        "change of protocol that nobody asked for",
    ),
    "a bare switch": (b"HTTP/1.1 101 X\r\n\r\n", "change of protocol that nobody asked for"),
    # headers
    "NUL in a header": (with_header(b"X-A: a\0b"), "Invalid HTTP header"),
    "a bare CR in a header": (with_header(b"X-A: a\rX-B: b"), NOT_HTTP),
    "no colon": (with_header(b"X-A"), NOT_HTTP),
    "no name": (with_header(b": 2"), NOT_HTTP),
    "a space before the colon": (OK + b"Content-Length : 2\r\n\r\n{}", "a space before the colon"),
    "many headers": (with_header(b"\r\n".join([b"X-A: a"] * 129)), "Too many headers"),
    "a long header": (with_header(b"X-A: " + b"a" * 9000), "Got more than 8190 bytes"),
    "a long name": (with_header(b"X" * 9000 + b": a"), "Got more than 8190 bytes"),
    # where an answer ends
    "a negative length": (with_length(b"-2"), NOT_HTTP),
    "a signed length": (with_length(b"+2"), NOT_HTTP),
    "a hexadecimal length": (with_length(b"0x2"), NOT_HTTP),
    "a list of lengths": (with_length(b"2, 2"), NOT_HTTP),
    "a length beyond all numbers": (with_length(b"9" * 30), NOT_HTTP),
    "two lengths": (with_length(b"2\r\nContent-Length: 1"), "Duplicate Content-Length"),
    "the same length twice": (with_length(b"2\r\nContent-Length: 2"), "Duplicate Content-Length"),
    "a length, then chunks": (
        with_coding(b"chunked\r\nContent-Length: 2"),
        "can't be present with",
    ),
    "chunks, then a length": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "can't be present with",
    ),
    "more than its length": (with_length(b"2", b"{}garbage"), NOT_HTTP),
    "a coding that is not known": (with_coding(b"xchunked"), "Transfer-Encoding of 'xchunked'"),
    "a packed transfer": (with_coding(b"gzip, chunked"), "Transfer-Encoding of 'gzip, chunked'"),
    "chunks of chunks": (with_coding(b"chunked, chunked"), "Transfer-Encoding of 'chunked, ch"),
    "a chunk without a size": (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", "character in chunk size"),
    "a bad chunk after a good one": (CHUNKED + b"1\r\na\r\nzz\r\n", "character in chunk size"),
    "a negative chunk": (CHUNKED + b"-1\r\na\r\n0\r\n\r\n", "character in chunk size"),
    "a chunk beyond all numbers": (CHUNKED + b"F" * 17 + b"\r\n", "Chunk size overflow"),
    "a chunk longer than its size": (CHUNKED + b"1\r\nabc\r\n0\r\n\r\n", "after chunk data"),
    "endless trailers": (CHUNKED + b"0\r\n" + b"X-A: a\r\n" * 200, "Too many headers"),
    "204 with a body": (b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
    "304 with a body": (b"HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\n{}", NOT_HTTP),
    "204 with chunks": (with_coding(b"chunked").replace(b"200", b"204"), NOT_HTTP),
    # packed bodies
    "gzip cut off": (packed(gzip.compress(b"[1, 2]" * 99)[:-9]), "whose gzip is cut off"),
    "gzip without its check": (packed(gzip.compress(b"{}")[:-8]), "whose gzip is cut off"),
    "gzip with a wrong check": (packed(gzip.compress(b"{}")[:-8] + bytes(8)), "not the gzip it"),
    "gzip and then something": (packed(gzip.compress(b"{}") + b"xx"), "not the gzip it says"),
    "gzip of a thousand members": (packed(gzip.compress(b"") * 1000), "goes on after its end"),
    "no gzip": (packed(b"{}"), "not the gzip it says it is"),
    "deflate cut off": (packed(zlib.compress(b"{}" * 9)[:-6], b"deflate"), "deflate is cut off"),
    "deflate and then something": (
        packed(zlib.compress(b"{}") + b"{}", b"deflate"),
        "deflate goes on after its end",
    ),
    "no deflate": (packed(b"\x78{}{}", b"deflate"), "not the deflate it says it is"),
    "packed twice": (
        packed(gzip.compress(gzip.compress(b"{}")), b"gzip, gzip"),
        "Content-Encoding of 'gzip, gzip', wanted gzip, deflate or none",
    ),
    "packed twice in two lines": (
        packed(gzip.compress(gzip.compress(b"{}")), b"gzip\r\nContent-Encoding: gzip"),
        "Content-Encoding of 'gzip, gzip'",
    ),
    "brotli": (packed(b"{}", b"br"), "Content-Encoding of 'br', wanted gzip, deflate"),
    "zstandard": (packed(b"{}", b"zstd"), "Content-Encoding of 'zstd', wanted gzip, deflate"),
    "an encoding nobody knows": (packed(b"{}", b"\xff\x1b[2J"), r"Content-Encoding of '\\udcff"),
}


@pytest.mark.parametrize("close", [False, True], ids=["stays open", "closes"])
@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str, close: bool) -> None:
    """At once, not when the time is over; with a reason for people, on one line."""
    answer, reason = REFUSED[name]
    begun = time.monotonic()
    with pytest.raises(InDoubt, match=reason) as caught:
        await ask(answer, close=close, timeout=10.0)
    assert time.monotonic() - begun < 5
    text = str(caught.value)
    assert text.startswith("api: ")
    assert text.endswith(", after the request may have left")
    assert text.isprintable()
    assert len(text) < 200


async def test_a_reason_repeats_nothing_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    config = replace(
        LOOPBACK, auth=Auth(default=Static(scheme="Bearer", secret=Secret(reference="env:TOKEN")))
    )

    async def echo(_: RawServer, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nbroken " + request)

    for answer in (echo, says(b"Bearer s3cret\r\n\r\n"), says(with_header(b"s3cret\0: s3cret\0"))):
        with pytest.raises(InDoubt) as caught:
            await ask(answer, config=config)
        assert "s3cret" not in str(caught.value)


# --- answers that are taken -----------------------------------------------------------------------

TAKEN = {
    "status 999": (with_status(b"999"), 999),
    "HTTP/1.0": (with_status(b"200", b"HTTP/1.0"), 200),
    "empty lines first": (b"\r\n\r\n" + body(b"{}"), 200),
    "bare LF at the end of a line": (with_header(b"X-A: a\nX-B: b"), 200),
    "a folded header": (with_header(b"X-A: a\r\n b"), 200),
    "a header that is not UTF-8": (with_header(b"X-A: \xff\xfe"), 200),
    "control characters in a header": (with_header(b"X-A: a\x01\x1b[2Jb"), 200),
    "gzip": (packed(gzip.compress(b"{}")), 200),
    "x-gzip": (packed(gzip.compress(b"{}"), b"X-GZIP"), 200),
    "gzip of two members": (packed(gzip.compress(b"{") + gzip.compress(b"}")), 200),
    "deflate": (packed(zlib.compress(b"{}"), b"deflate"), 200),
    "deflate without its head": (packed(zlib.compress(b"{}")[2:-4], b"deflate"), 200),
    "packed as nothing": (packed(b"{}", b"identity"), 200),
    "a name for chunks in capitals": (with_coding(b"Chunked"), 200),
    "chunks with extensions": (CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", 200),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_taken(name: str) -> None:
    answer, status = TAKEN[name]
    response = await ask(answer)
    assert (response.status, response.body) == (status, b"{}")


async def test_an_empty_body_is_empty_however_it_is_packed() -> None:
    assert (await ask(packed(b""))).body == b""


async def test_a_bad_chunk_is_noticed_while_the_body_is_read() -> None:
    async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        for part in (CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n", b"zz\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)  # in segments of their own

    begun = time.monotonic()
    with pytest.raises(InDoubt):
        await ask(answer, timeout=10.0)
    assert time.monotonic() - begun < 5


PHASES = {
    "before anything": b"",
    "in the status line": b"HTTP/1.1 2",
    "after the status line": OK,
    "in a header": OK + b"Content-Le",
    "after the head": OK + b"Content-Length: 2\r\n\r\n",
    "in the body": OK + b"Content-Length: 2\r\n\r\n{",
    "after a hint": b"HTTP/1.1 100 Continue\r\n\r\n",
    "in the size of a chunk": CHUNKED + b"1",
    "in a chunk": CHUNKED + b"5\r\n{",
    "after a chunk": CHUNKED + b"1\r\n{\r\n",
    "before the end of the chunks": CHUNKED + b"1\r\n{\r\n0\r\n",
    "in gzip of chunks": OK
    + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\x1f\x8b\x08\x00\r\n",
}


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("phase", PHASES)
async def test_the_connection_ends(phase: str, how: str) -> None:
    async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(PHASES[phase])
        await writer.drain()
        if how == "reset":
            peer = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        else:
            writer.close()

    with pytest.raises(InDoubt, match="the connection was lost"):
        await ask(answer, timeout=10.0)


async def test_a_body_until_the_end_of_a_connection_that_is_reset_is_not_whole() -> None:
    async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)  # read, before the reset throws it away
        peer = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    with pytest.raises(InDoubt, match="the connection was lost"):
        await ask(answer)


# --- time -----------------------------------------------------------------------------------------

DRIPS = {
    "a status line": (b"", b"\r\n"),
    "headers": (OK, b"X-A: a\r\n"),
    "one header": (OK + b"X-A: ", b"a"),
    "hints": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a body": (OK + b"Content-Length: 100000\r\n\r\n", b"a"),
    "chunks": (CHUNKED, b"1\r\na\r\n"),
    "the extension of a chunk": (CHUNKED + b"1;", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: a\r\n"),
    "a body without a length": (OK + b"\r\n", b"a"),
    "gzip without output": (
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\n\0\0\0\xff\xff\r\n",
    ),
}


@pytest.mark.parametrize("what", DRIPS)
async def test_a_slow_drip_ends_with_the_time_for_the_whole_call(what: str) -> None:
    """However often something arrives."""
    first, part = DRIPS[what]
    if what == "gzip without output":
        first += b"a\r\n" + gzip.compress(b"")[:10] + b"\r\n"

    async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)

    begun = time.monotonic()
    with pytest.raises(InDoubt, match=r"no answer within 0\.[5-9] s|more than 20 answers"):
        await ask(answer, timeout=0.5)
    assert 0.4 < time.monotonic() - begun < 3


# --- size -----------------------------------------------------------------------------------------

LIMIT = 100_000
ENDLESS = {
    "chunks": (CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n"),
    "a body without a length": (OK + b"\r\n", b"a" * 4096),
    "headers": (OK, b"X-A: " + b"a" * 4096 + b"\r\n"),
    "one header": (OK + b"X-A: ", b"a" * 4096),
    "a reason": (b"HTTP/1.1 200 ", b"a" * 4096),
    "hints": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: " + b"a" * 4096 + b"\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_an_endless_answer_ends_here(what: str) -> None:
    first, part = ENDLESS[what]

    async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(part)
            await writer.drain()

    begun = time.monotonic()
    with pytest.raises(InDoubt, match=r"larger than 100000|Got more than|Too many|more than 20"):
        await ask(answer, config=replace(LOOPBACK, max_response_bytes=LIMIT), timeout=20.0)
    assert time.monotonic() - begun < 10


def bomb(encoding: str) -> bytes:
    """100 MB of zeros in 100 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    return b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(100)), packer.flush()])


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """What Python allocated at most, in bytes more than before."""
    found: list[int] = []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield found
    finally:
        found.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_costs_no_more_memory_than_twice_the_limit(
    encoding: str, chunked: bool
) -> None:
    content = bomb(encoding)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n".encode()
    if chunked:
        answer = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(content) + content
    else:
        answer = head + b"Content-Length: %d\r\n\r\n" % len(content) + content
    limit = 1_000_000
    with peak_memory() as peak, pytest.raises(InDoubt, match="larger than 1000000 bytes"):
        await ask(answer, config=replace(LOOPBACK, max_response_bytes=limit))
    assert peak[0] < 2 * limit + 1_000_000  # the server of the test is in it, too


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_what_unpacks_to_just_the_limit_is_read(encoding: str) -> None:
    content = bytes(LIMIT)
    answer = packed(
        gzip.compress(content) if encoding == "gzip" else zlib.compress(content), encoding.encode()
    )
    config = replace(LOOPBACK, max_response_bytes=LIMIT)
    assert len((await ask(answer, config=config)).body) == LIMIT
    with pytest.raises(InDoubt, match="larger than 99999 bytes"):
        await ask(answer, config=replace(LOOPBACK, max_response_bytes=LIMIT - 1))


async def test_packed_bytes_count_too_when_nothing_comes_out_of_them() -> None:
    empty_blocks = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 1000
    answer = (
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"%x\r\n" % len(empty_blocks) + empty_blocks + b"\r\n")
    )  # fmt: skip
    with pytest.raises(InDoubt, match="larger than 1000 bytes"):
        await ask(answer, config=replace(LOOPBACK, max_response_bytes=1000))


# --- one connection, several answers --------------------------------------------------------------


async def test_an_answer_behind_an_answer_is_not_for_the_next_request() -> None:
    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        behind = body(b"evil") if len(server.requests) == 1 else b""
        writer.write(body(b"%d" % len(server.requests)) + behind)

    async with raw_server(answer) as server, http(server.url) as transport:
        assert [(await send(transport)).body for _ in range(3)] == [b"1", b"2", b"3"]
    assert server.connections == 2


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 R", b"\r\n", b"x", body(b"evil")])
async def test_whatever_arrives_on_an_idle_connection_ends_it(unasked: bytes) -> None:
    idle, said = asyncio.Event(), asyncio.Event()

    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(body(b"%d" % len(server.requests)))
        if len(server.requests) == 1:
            async with asyncio.timeout(30):
                await idle.wait()
            writer.write(unasked)
            await writer.drain()
            said.set()

    async with raw_server(answer) as server, http(server.url) as transport:
        assert (await send(transport)).body == b"1"
        idle.set()
        async with asyncio.timeout(30):
            await said.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # each turn of the loop reads what has arrived
        assert (await send(transport)).body == b"2"
    assert server.connections == 2


async def test_the_body_of_an_answer_to_head_is_not_for_the_next_request() -> None:
    """It comes when the next request has left: nothing but a new connection helps."""

    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        smuggled = body(b"evil")
        if len(server.requests) == 1:
            writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(smuggled))
        else:
            writer.write((smuggled if server.connections == 1 else b"") + body(b"good"))

    async with raw_server(answer) as server, http(server.url) as transport:
        assert (await send(transport, HEAD)).body == b""
        assert (await send(transport, PUT)).body == b"good"


@asynccontextmanager
async def reads_heads_only(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers when it has read a head, and never reads a body."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        reader._transport.pause_reading()
        writer.write(answer)
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", heads
    finally:
        for writer in writers:
            writer.transport.abort()
        listener.close()


LARGE = replace(PUT, body=bytes(30_000_000))  # more than the kernel takes


async def test_a_server_that_does_not_read_is_not_waited_for_longer_than_allowed() -> None:
    async with reads_heads_only(b"") as (url, heads), http(url) as transport:
        with pytest.raises(InDoubt, match=r"no answer within 0\.\d s"):
            await send(transport, LARGE, timeout=0.5)
    assert len(heads) == 1


async def test_an_answer_before_all_of_the_request_is_the_last_of_its_connection() -> None:
    """Or the next request would stand behind the rest of this one."""
    early = body(b"", status=b"413 Content Too Large")
    async with reads_heads_only(early) as (url, heads), http(url) as transport:
        assert [(await send(transport, LARGE)).status for _ in range(2)] == [413, 413]
    assert len(heads) == 2


class _BlockingServer:
    """Answers from a thread of its own, so that it does not need the event loop of the client."""

    def __init__(self) -> None:
        self.spoken, self.speak = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.unasked = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        first, _ = self._listener.accept()
        with first:
            first.recv(65536)
            first.sendall(body(b"1"))
            self.speak.wait(10)
            if self.unasked:
                first.sendall(self.unasked)
            else:
                first.shutdown(socket.SHUT_RDWR)
            self.spoken.set()
            second, _ = self._listener.accept()
            with second:
                second.recv(65536)
                second.sendall(body(b"2"))
                self.speak.wait(10)

    def say(self, unasked: bytes) -> None:
        """Nothing: it closes the connection."""
        self.unasked = unasked
        self.speak.set()
        assert self.spoken.wait(10)

    def close(self) -> None:
        self.speak.set()
        self._listener.close()
        self._thread.join(10)


@pytest.mark.parametrize("unasked", [body(b"evil"), b"HTTP/1.1 408 R", b""])
async def test_what_the_event_loop_has_not_seen_yet_is_not_taken_for_an_answer(
    unasked: bytes,
) -> None:
    """It lies in the kernel when the next request wants to leave. So may a closed connection."""
    server = _BlockingServer()
    try:
        async with http(server.url) as transport:
            assert (await send(transport)).body == b"1"
            server.say(unasked)  # the loop stands still meanwhile
            assert (await send(transport)).body == b"2"
    finally:
        server.close()


# --- anything -------------------------------------------------------------------------------------

SEEDS = sorted(
    {
        *(answer for answer, _ in REFUSED.values()),
        *(answer for answer, _ in TAKEN.values()),
        *PHASES.values(),
    }
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """An answer of above with a few bytes inserted, replaced or lost."""
    text = draw(st.sampled_from(SEEDS))[:3000]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        more = draw(st.sampled_from([b"\r\n", b"\0", b":", b" ", b"0", b"chunked"]) | st.binary())
        text = text[:at] + more + text[at + draw(st.integers(0, 5)) :]
    return text


@sweep
@given(st.lists(mangled() | st.binary(), min_size=1, max_size=3))
@settings(max_examples=so_many(50, whole=150), deadline=None)
def test_whatever_arrives_is_an_answer_or_a_doubt(parts: list[bytes]) -> None:
    """Never another error, and never a wait for more than there is."""

    statuses: list[int] = []
    reasons: list[str] = []

    async def call() -> None:
        async def answer(_: RawServer, __: bytes, writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)
            writer.close()

        try:
            statuses.append((await ask(answer, timeout=20.0)).status)
        except InDoubt as error:
            reasons.append(str(error))

    asyncio.run(call())
    assert len(statuses + reasons) == 1
    assert all(200 <= status <= 999 for status in statuses)
    assert all(text.isprintable() and "no answer within" not in text for text in reasons)
