"""Where requests end up: names that change their mind, odd base URLs, redirects."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiohttp import AddrInfoType, ThreadedResolver
from aiohttp.abc import ResolveResult

from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine import http_connections
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.egress import GuardedResolver, guarded_sockets
from orchestrator.engine.secret import Secret
from orchestrator.errors import NotLanded
from tests.integration.gate.raw_server import body, raw_server, says
from tests.integration.gate.test_http import LOOPBACK, PUT, http, send

METADATA, HERE, PUBLIC = "169.254.169.254", "127.0.0.1", "93.184.215.14"
STRICT = replace(LOOPBACK, allow_private_addresses=False)
ONE_CALL_EACH = replace(LOOPBACK, keep_alive_seconds=0)


class Names:
    """The system's resolver: each question has the next answer, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.questions = list(answers), 0
        monkeypatch.setattr(ThreadedResolver, "resolve", self._resolve)

    async def _resolve(self, host: str, port: int, family: int) -> list[ResolveResult]:
        found = self.answers[min(self.questions, len(self.answers) - 1)]
        self.questions += 1
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET,
                proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST,
            )
            for one in found
        ]  # fmt: skip


@pytest.fixture
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "DNS_CACHE_SECONDS", 0)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_cache")
async def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address at the first question, this machine at the second: nobody asks twice."""
    names = Names(monkeypatch, [PUBLIC], [HERE])
    tried: list[str] = []

    def recording(*, allow_private: bool) -> Callable[[AddrInfoType], socket.socket]:
        make = guarded_sockets(allow_private=allow_private)

        def record(info: AddrInfoType) -> socket.socket:
            make(info).close()
            tried.append(str(info[4][0]))
            raise ConnectionRefusedError

        return record

    monkeypatch.setattr(http_connections, "guarded_sockets", recording)
    async with raw_server(says(body(b"{}"))) as server:
        async with http(f"http://rebinding.example:{server.port}", STRICT) as transport:
            with pytest.raises(NotLanded, match="no connection to"):
                await send(transport)
            assert (names.questions, tried) == (1, [PUBLIC])
            with pytest.raises(NotLanded, match=r"127\.0\.0\.1 \(loopback\), where no request"):
                await send(transport)
        assert server.connections == 0
    assert tried == [PUBLIC]


@pytest.mark.usefixtures("_no_cache")
async def test_a_new_connection_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, [HERE], [METADATA])
    async with raw_server(says(body(b"{}"))) as server:
        url = f"http://rebinding.example:{server.port}"
        async with http(url, ONE_CALL_EACH) as transport:
            assert (await send(transport)).status == 200
            with pytest.raises(NotLanded, match=r"169\.254\.169\.254 \(link-local\)") as caught:
                await send(transport)
    assert not caught.value.retryable
    assert not caught.value.settles_doubt
    assert str(caught.value).startswith("api: rebinding.example is at ")


@pytest.mark.usefixtures("_no_cache")
async def test_a_kept_connection_was_checked_when_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot move, so its name is not asked for again."""
    names = Names(monkeypatch, [HERE], [METADATA])
    async with (
        raw_server(says(body(b"{}"))) as server,
        http(f"http://rebinding.example:{server.port}") as transport,
    ):
        for _ in range(3):
            assert (await send(transport)).status == 200
    assert (names.questions, server.connections) == (1, 1)


async def test_a_cached_address_is_one_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, [METADATA, HERE], [METADATA])
    async with raw_server(says(body(b"{}"))) as server:
        url = f"http://rebinding.example:{server.port}"
        async with http(url, ONE_CALL_EACH) as transport:
            for _ in range(3):
                assert (await send(transport)).status == 200
    assert (names.questions, server.connections) == (1, 3)


async def test_a_name_with_permitted_and_forbidden_addresses_is_reached_on_the_permitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Names(monkeypatch, [METADATA, "224.0.0.1", HERE, "0.0.0.0"])
    async with (
        raw_server(says(body(b"{}"))) as server,
        http(f"http://mixed.example:{server.port}") as transport,
    ):
        assert (await send(transport)).status == 200


async def test_whatever_the_resolver_lets_through_the_socket_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Names(monkeypatch, [HERE, HERE])
    monkeypatch.setattr(GuardedResolver, "_permits", lambda *_: True)
    async with raw_server(says(body(b"{}"))) as server:
        async with http(f"http://mixed.example:{server.port}", STRICT) as transport:
            with pytest.raises(NotLanded, match="where no request may go") as caught:
                await send(transport)
        assert server.connections == 0
    assert not caught.value.retryable


# --- base URLs ------------------------------------------------------------------------------------

ODD = {
    "decimal": "http://2130706433:{port}",
    "hexadecimal": "http://0x7f.1:{port}",
    "octal": "http://0177.0.0.1:{port}",
    "short": "http://127.1:{port}",
    "a trailing dot": "http://127.0.0.1.:{port}",
    "ideographic dots": "http://127。0。0。1:{port}",
    "percent-encoded": "http://127%2e0.0.1:{port}",
    "a zone": "http://[::1%25lo]:{port}",
    "user": "http://api.example@127.0.0.1:{port}",
    "a backslash": "http://127.0.0.1:{port}\\@api.example",
    "a line break": "http://127.0.0.1:{port}/\r\nX-Admin: 1",
    "a query": "http://127.0.0.1:{port}/?x=",
    "no host": "/v1",
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_base_url_of_a_document_leads_nowhere(name: str) -> None:
    """Configuration files are checked when they are read; an API's document may say anything."""
    async with raw_server(says(body(b"{}"))) as server:
        async with http(ODD[name].format(port=server.port)) as transport:
            with pytest.raises(NotLanded, match=r"api: its base URL: found .*; wanted ") as caught:
                await send(transport)
        assert server.connections == 0
    assert not caught.value.retryable
    assert not caught.value.settles_doubt
    assert str(caught.value).isprintable()


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(
    status: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to another origin nor to metadata, and no credential goes there."""
    monkeypatch.setenv("TOKEN", "s3cret")
    config: ApiConfig = replace(
        LOOPBACK, auth=Auth(default=Static(scheme="Bearer", secret=Secret(reference="env:TOKEN")))
    )
    request = FrozenRequest(method=method, target="/x", body=b"{}" if method == "POST" else b"")
    async with raw_server(says(body(b"{}"))) as elsewhere:
        for target in (f"{elsewhere.url}/x", f"http://{METADATA}/latest", "/y", "//evil.example"):
            line = b"%d Moved\r\nLocation: %s" % (status, target.encode())
            answer = says(body(b"", status=line))
            async with raw_server(answer) as server, http(server.url, config) as transport:
                response = await send(transport, request)
            assert (response.status, response.headers["location"]) == (status, target)
            assert len(server.requests) == 1
        assert elsewhere.connections == 0


# --- requests that would be two -------------------------------------------------------------------

INJECTIONS = {
    "CR LF in a header": replace(PUT, headers=(("X-A", "a\r\nX-Admin: 1"),)),
    "LF in a header": replace(PUT, headers=(("X-A", "a\nX-Admin: 1"),)),
    "CR in a header": replace(PUT, headers=(("X-A", "a\rX-Admin: 1"),)),
    "NUL in a header": replace(PUT, headers=(("X-A", "a\0b"),)),
    "half a surrogate pair in a header": replace(PUT, headers=(("X-A", "\ud800"),)),
    "a line break in a name": replace(PUT, headers=(("X-A: 1\r\nX-Admin", "1"),)),
    "a space in a name": replace(PUT, headers=(("X A", "1"),)),
    "another host": replace(PUT, headers=(("Host", "evil.example"),)),
    "a second length": replace(PUT, headers=(("Content-Length", "0"),)),
    "chunks": replace(PUT, headers=(("Transfer-Encoding", "chunked"),)),
    "the connection": replace(PUT, headers=(("Connection", "keep-alive, X-Client"),)),
    "a line break in the target": replace(PUT, target="/ HTTP/1.1\r\nX-Admin: 1\r\n\r\n"),
    "a space in the target": replace(PUT, target="/a b"),
    "no ASCII in the target": replace(PUT, target="/ü"),
    "NUL in the target": replace(PUT, target="/a\0"),
    "another host as the target": replace(PUT, target="http://evil.example /"),
    "a line break in the method": replace(PUT, method="GET / HTTP/1.1\r\nX:"),
    "a space in the method": replace(PUT, method="GET /admin"),
    "no method": replace(PUT, method=""),
    "a target beyond all servers": replace(PUT, target="/" + "a" * 70_000),
    "a header beyond all servers": replace(PUT, headers=(("X-A", "a" * 70_000),)),
}


@pytest.mark.parametrize("name", INJECTIONS)
async def test_what_would_be_another_request_does_not_leave(name: str) -> None:
    async with raw_server(says(body(b"{}"))) as server:
        async with http(server.url) as transport:
            with pytest.raises(NotLanded) as caught:
                await send(transport, INJECTIONS[name])
            assert (await send(transport)).status == 200  # nothing is broken by it
        assert len(server.requests) == 1
    assert not caught.value.retryable
    assert not caught.value.settles_doubt  # an earlier attempt with other bytes may have left
    text = str(caught.value)
    assert text.startswith("api: ")
    assert text.isprintable()
    assert len(text) < 200


async def test_a_fragment_does_not_leave() -> None:
    async with raw_server(says(body(b"{}"))) as server, http(server.url) as transport:
        await send(transport, replace(PUT, target="/a?b=c#d"))
    assert server.requests[0].startswith(b"PUT /a?b=c HTTP/1.1\r\n")
