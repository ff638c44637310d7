"""TLS that is not as it should be: nothing of the request leaves before the peer is known."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.secret import Secret
from orchestrator.errors import InDoubt, NotLanded
from tests.integration.gate.raw_server import RawServer, body, says
from tests.integration.gate.test_http import send

PAST = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = ApiConfig(
    name="api", allow_private_addresses=True, connect_seconds=0.5,
    auth=Auth(default=Static(scheme="Bearer", secret=Secret(reference="env:TOKEN"))),
)  # fmt: skip


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def _trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Whom the client trusts: the system's authorities, and ours."""
    monkeypatch.setenv("TOKEN", "s3cret")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    return iter(())


def presents(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def tls_server(context: ssl.SSLContext | None) -> AsyncIterator[RawServer]:
    server = RawServer(says(body(b"{}")))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport({"api": CONFIG}, base_url=lambda _: url)
    try:
        yield transport
    finally:
        await transport.aclose()


async def refused(context: ssl.SSLContext | None, reason: str) -> None:
    async with tls_server(context) as server:
        async with client(f"https://localhost:{server.port}") as transport:
            with pytest.raises(NotLanded, match=reason) as caught:
                await send(transport)
        assert server.requests == []
    assert caught.value.retryable  # certificates are renewed
    assert not caught.value.settles_doubt
    assert "before the request could leave" in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_certificate_as_it_should_be(authority: trustme.CA) -> None:
    async with tls_server(presents(authority.issue_cert("localhost"))) as server:
        async with client(f"https://localhost:{server.port}") as transport:
            assert [(await send(transport)).status for _ in range(2)] == [200, 200]
        assert server.connections == 1
        assert b"Bearer s3cret" in server.requests[0]


async def test_a_certificate_for_another_host(authority: trustme.CA) -> None:
    await refused(
        presents(authority.issue_cert("other.example")),
        r"no trust in the certificate of localhost:\d+ .*for 'localhost'",
    )


async def test_an_expired_certificate(authority: trustme.CA) -> None:
    old = authority.issue_cert("localhost", not_before=PAST.replace(year=2019), not_after=PAST)
    await refused(presents(old), r"no trust in .* \(certificate has expired\)")


async def test_a_certificate_of_nobody_we_trust() -> None:
    await refused(
        presents(trustme.CA().issue_cert("localhost")),
        r"no trust in .* \((self-signed|unable to get)",
    )


async def test_a_server_that_speaks_no_tls() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body(b"", status=b"400 Bad Request"))
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with client(f"https://localhost:{port}") as transport:
        with pytest.raises(NotLanded, match=f"no connection to localhost:{port}.*SSL") as caught:
            await send(transport)
    assert caught.value.retryable
    listener.close()


async def test_a_server_that_waits_for_a_request_without_tls() -> None:
    await refused(None, "no connection within")


async def test_a_handshake_that_is_never_answered() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silenced.append(writer)

    silenced: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with client(f"https://localhost:{port}") as transport:
        with pytest.raises(NotLanded, match="before the request could leave") as caught:
            await send(transport, timeout=10.0)
    assert caught.value.retryable
    for writer in silenced:
        writer.close()
    listener.close()


async def test_a_server_that_expects_tls_where_we_have_none(authority: trustme.CA) -> None:
    """The request has left, in the clear: a base URL that is http:// where https:// is wanted."""
    async with tls_server(presents(authority.issue_cert("localhost"))) as server:
        async with client(f"http://localhost:{server.port}") as transport:
            with pytest.raises(InDoubt, match=r"not HTTP|connection was lost"):
                await send(transport)
        assert server.requests == []
