"""What leaves, and what every kind of failure is taken for."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.secret import Secret
from orchestrator.errors import HeldUp, InDoubt, NoCredential, NotLanded, NotSent
from orchestrator.ports import AttemptContext
from tests.integration.gate.raw_server import RawServer, body, raw_server, says

CONTEXT = AttemptContext(
    run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="default"
)
PUT = FrozenRequest(
    method="PUT", target="/records/a%2Fb?q=%C3%BC+x", body=b'{"a": 1}',
    headers=(("Content-Type", "application/json"), ("If-None-Match", "*")),
)  # fmt: skip
GET = FrozenRequest(method="GET", target="/")
LOOPBACK = ApiConfig(name="api", allow_private_addresses=True, connect_seconds=1.0)


@asynccontextmanager
async def http(url: str | None, config: ApiConfig = LOOPBACK) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport({"api": config}, base_url=lambda _: url)
    try:
        yield transport
    finally:
        await transport.aclose()


async def send(
    transport: HttpTransport, request: FrozenRequest = PUT, timeout: float | None = 5.0
) -> Response:
    return await transport.send("api", request, CONTEXT, timeout_seconds=timeout)


# --- what leaves ----------------------------------------------------------------------------------


async def test_a_request_leaves_as_it_is_frozen() -> None:
    async with raw_server(says(body(b"{}"))) as server, http(server.url + "/v1") as transport:
        await send(transport)
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"PUT /v1/records/a%2Fb?q=%C3%BC+x HTTP/1.1"
    assert {b"Content-Type: application/json", b"If-None-Match: *"} < set(lines)
    assert b"Content-Length: 8" in lines
    assert sent == PUT.body


async def test_an_empty_body_has_length_zero_and_no_type() -> None:
    async with raw_server(says(body(b""))) as server, http(server.url) as transport:
        await send(transport, FrozenRequest(method="POST", target="/x"))
    assert b"Content-Length: 0" in server.requests[0]
    assert b"content-type" not in server.requests[0].lower()


async def test_credentials_and_headers_are_added_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_TOKEN", "s3cret")
    config = replace(
        LOOPBACK,
        auth=Auth(default=Static(scheme="Bearer", secret=Secret(reference="env:API_TOKEN"))),
        headers=(("X-Client", "us"), ("if-none-match", "never")),
    )  # fmt: skip
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        await send(transport)
    assert b"Authorization: Bearer s3cret\r\n" in server.requests[0]
    assert b"X-Client: us\r\n" in server.requests[0]
    assert b"never" not in server.requests[0]


async def test_a_missing_credential_sends_nothing() -> None:
    config = replace(
        LOOPBACK, auth=Auth(default=Static(secret=Secret(reference="env:NO_SUCH_TOKEN")))
    )
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        with pytest.raises(NoCredential, match="env:NO_SUCH_TOKEN") as caught:
            await send(transport)
    assert caught.value.retryable
    assert server.connections == 0


async def test_connections_are_kept_and_cookies_are_not() -> None:
    answer = says(body(b"{}", b"Set-Cookie: session=1"))
    async with raw_server(answer) as server, http(server.url) as transport:
        await send(transport)
        await send(transport)
    assert server.connections == 1
    assert not any(b"Cookie" in request for request in server.requests)


# --- what comes back ------------------------------------------------------------------------------


async def test_every_status_is_an_answer_with_lower_case_headers() -> None:
    answer = says(body(b"full", b"Retry-After: 7", b"X-A: 1", b"x-a: 2", status=b"503 Busy"))
    async with raw_server(answer) as server, http(server.url) as transport:
        response = await send(transport)
    assert (response.status, response.body) == (503, b"full")
    assert (response.headers["retry-after"], response.headers["x-a"]) == ("7", "1, 2")
    assert 0 < response.seconds < 5


async def test_redirects_are_not_followed() -> None:
    answer = says(body(b"", b"Location: /elsewhere", status=b"307 Temporary Redirect"))
    async with raw_server(answer) as server, http(server.url) as transport:
        assert (await send(transport)).status == 307
    assert len(server.requests) == 1


async def test_compressed_answers_are_read() -> None:
    answer = says(body(gzip.compress(b'{"a": 1}'), b"Content-Encoding: gzip"))
    async with raw_server(answer) as server, http(server.url) as transport:
        assert (await send(transport)).body == b'{"a": 1}'


async def test_hints_before_the_answer_are_passed_over() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with raw_server(says(hints + body(b"{}"))) as server, http(server.url) as transport:
        for _ in range(2):
            assert (await send(transport)).body == b"{}"
    assert server.connections == 1


@pytest.mark.parametrize(("length", "connections"), [(0, 1), (7, 2), (10**12, 2)])
async def test_an_answer_to_head_has_no_body(length: int, connections: int) -> None:
    """One that tells of a body is the last of its connection: it might come all the same."""
    answer = says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: x\r\n\r\n" % length)
    async with raw_server(answer) as server, http(server.url) as transport:
        for _ in range(2):
            response = await send(transport, replace(GET, method="HEAD"))
            assert (response.body, response.headers["etag"]) == (b"", "x")
    assert server.connections == connections


async def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    answer = says(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)
    async with raw_server(answer) as server, http(server.url) as transport:
        for _ in range(2):
            assert (await send(transport)).body == b"all of it"
    assert server.connections == 2


@pytest.mark.parametrize("line", [b"Connection: close", b"Connection: keep-alive"])
async def test_the_server_says_whether_a_connection_is_kept(line: bytes) -> None:
    async with raw_server(says(body(b"{}", line))) as server, http(server.url) as transport:
        await send(transport)
        await send(transport)
    assert server.connections == (2 if b"close" in line else 1)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    idle, unasked = asyncio.Event(), asyncio.Event()

    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(body(b"%d" % len(server.requests)))
        if len(server.requests) == 1:
            async with asyncio.timeout(30):
                await idle.wait()
            writer.write(body(b"", status=b"408 Request Timeout"))
            await writer.drain()
            unasked.set()

    async with raw_server(answer) as server, http(server.url) as transport:
        assert (await send(transport)).body == b"1"
        idle.set()
        async with asyncio.timeout(30):
            await unasked.wait()
        for _ in range(10):
            await asyncio.sleep(0)  # each turn of the loop reads what has arrived
        assert (await send(transport)).body == b"2"
    assert server.connections == 2


# --- it did not leave -----------------------------------------------------------------------------


async def test_a_refused_connection(unused_tcp_port: int) -> None:
    async with http(f"http://127.0.0.1:{unused_tcp_port}") as transport:
        with pytest.raises(
            NotLanded, match=f"no connection to 127.0.0.1:{unused_tcp_port}"
        ) as error:
            await send(transport)
    assert error.value.retryable


async def test_a_name_that_does_not_resolve() -> None:
    async with http("http://nowhere.invalid") as transport:
        with pytest.raises(NotLanded, match=r"no connection to nowhere\.invalid:80") as error:
            await send(transport)
    assert error.value.retryable


async def test_no_tls_where_it_was_expected() -> None:
    async with raw_server(says(body(b"{}"))) as server:
        async with http(f"https://127.0.0.1:{server.port}") as transport:
            with pytest.raises(NotLanded, match="before the request could leave") as error:
                await send(transport)
        assert server.requests == []
    assert error.value.retryable


async def test_a_connection_that_is_not_accepted_in_time() -> None:
    config = replace(LOOPBACK, connect_seconds=0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with http(f"http://127.0.0.1:{full.getsockname()[1]}", config) as transport:
            with pytest.raises(NotLanded, match="before the request could leave") as error:
                await send(transport)
        for filler in fillers:
            filler.close()
    assert error.value.retryable


async def test_no_connection_free_in_time() -> None:
    async def slow(_: RawServer, request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.write(body(b"{}"))

    config = replace(LOOPBACK, connections=1)
    async with raw_server(slow) as server, http(server.url, config) as transport:
        first = asyncio.create_task(send(transport))
        await asyncio.sleep(0.1)
        with pytest.raises(NotLanded, match="no connection within") as error:
            await send(transport, timeout=0.2)
        assert (await first).status == 200
    assert error.value.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
async def test_forbidden_addresses_are_not_connected_to(host: str) -> None:
    config = replace(LOOPBACK, allow_private_addresses=False)
    async with raw_server(says(body(b"{}"))) as server:
        async with http(f"http://{host}:{server.port}", config) as transport:
            for _ in range(2):
                with pytest.raises(NotSent, match="where no request may go") as error:
                    await send(transport)
                assert not error.value.retryable
                assert not error.value.settles_doubt  # an earlier attempt may have left
        assert server.connections == 0


@pytest.mark.parametrize("keep_alive_seconds", [10.0, 0.0])
async def test_a_process_that_was_held_up_sends_nothing_and_keeps_the_connection(
    keep_alive_seconds: float,
) -> None:
    late = msgspec.structs.replace(CONTEXT, may_leave=lambda: False)
    config = replace(LOOPBACK, keep_alive_seconds=keep_alive_seconds)
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        for _ in range(2):
            with pytest.raises(HeldUp, match="held up before the request could leave"):
                await transport.send("api", PUT, late, timeout_seconds=None)
        await send(transport)
    assert (len(server.requests), server.connections) == (1, 1)


async def test_a_line_break_in_a_header() -> None:
    request = replace(PUT, headers=(("X-Name", "a\r\nX-Admin: 1"),))
    async with raw_server(says(body(b"{}"))) as server, http(server.url) as transport:
        with pytest.raises(NotLanded, match="line break") as error:
            await send(transport, request)
    assert not error.value.retryable
    assert server.requests == []


async def test_no_address_is_known() -> None:
    async with http(None) as transport:
        with pytest.raises(NotLanded, match="no base URL") as error:
            await send(transport)
    assert error.value.retryable


# --- it may have left -----------------------------------------------------------------------------


def then_hangs_up() -> Callable[[RawServer, bytes, asyncio.StreamWriter], asyncio.Future[None]]:
    async def answer(server: RawServer, request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 1:
            writer.write(body(b"{}"))
        else:
            writer.close()

    return answer


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_kept_connection_that_breaks_is_in_doubt_and_nothing_is_repeated(
    method: str,
) -> None:
    async with raw_server(then_hangs_up()) as server, http(server.url) as transport:
        await send(transport)
        with pytest.raises(InDoubt, match="connection was lost"):
            await send(transport, replace(PUT, method=method))
    assert (len(server.requests), server.connections) == (2, 1)


BROKEN = {
    "nothing": (b"", "connection was lost"),
    "half a status": (b"HTTP/1.1 2", "connection was lost"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "connection was lost"),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{", "was lost"),
    "another protocol": (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
    "a bad length": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "not HTTP"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_answer_is_in_doubt(what: str) -> None:
    text, reason = BROKEN[what]
    async with raw_server(says(text, close=True)) as server, http(server.url) as transport:
        with pytest.raises(InDoubt, match=reason):
            await send(transport)
    assert len(server.requests) == 1


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_no_answer_in_time_is_in_doubt(text: bytes) -> None:
    async with raw_server(says(text)) as server, http(server.url) as transport:
        begun = time.monotonic()
        with pytest.raises(InDoubt, match=r"no answer within 0\.\d s") as error:
            await send(transport, timeout=0.3)
    assert time.monotonic() - begun < 20
    assert "records" not in str(error.value)


async def test_silence_ends_at_the_read_timeout() -> None:
    config = replace(LOOPBACK, read_seconds=0.2, total_seconds=30.0)
    async with raw_server(says(b"")) as server, http(server.url, config) as transport:
        with pytest.raises(InDoubt, match="no answer within"):
            await send(transport, timeout=None)


BOMB = gzip.compress(b"0" * 10_000_000)
LARGE = {
    "announced": body(b"x" * 1001),
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"190\r\n%s\r\n" % (b"x" * 400) * 3
    + b"0\r\n\r\n",
    "compressed": body(BOMB, b"Content-Encoding: gzip"),
}


@pytest.mark.parametrize("how", LARGE)
async def test_an_answer_larger_than_allowed_is_in_doubt(how: str) -> None:
    config = replace(LOOPBACK, max_response_bytes=1000)
    async with raw_server(says(LARGE[how])) as server, http(server.url, config) as transport:
        with pytest.raises(InDoubt, match="larger than 1000 bytes"):
            await send(transport)


async def test_an_answer_of_just_the_allowed_size_is_read() -> None:
    config = replace(LOOPBACK, max_response_bytes=1000)
    async with raw_server(says(body(b"x" * 1000))) as server, http(server.url, config) as transport:
        assert len((await send(transport)).body) == 1000


async def test_a_cancelled_call_closes_its_connection() -> None:
    async with raw_server(says(b"")) as server, http(server.url) as transport:
        call = asyncio.create_task(send(transport))
        async with asyncio.timeout(30):
            await server.got_one.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(30):
            await server.closed_by_client.wait()
