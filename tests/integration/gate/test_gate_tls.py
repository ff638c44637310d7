"""`rediss://`: who listens in between has another certificate, and gets nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from orchestrator.coordination.connect import connect
from orchestrator.worker.app import make_app

URL = "rediss://worker:hunter2-and-more@127.0.0.1:{port}/1"


@asynccontextmanager
async def in_between(certificate: trustme.LeafCert, heard: bytearray) -> AsyncIterator[int]:
    """A server with this certificate, which notes what it is told; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            heard.extend(chunk)
            writer.write(b"-ERR nobody of that name\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def over_the_gate(url: str) -> None:
    async with connect(url) as client:
        await client.ping()


async def over_the_broker(url: str) -> None:
    def ask() -> None:
        with make_app(broker_url=url).connection() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            connection.default_channel.client.ping()

    await asyncio.to_thread(ask)


@pytest.mark.parametrize("whose", ["nobody's", "another host's"])
@pytest.mark.parametrize("ask", [over_the_gate, over_the_broker])
async def test_the_password_is_not_told_to_who_has_another_certificate(
    tmp_path: Path, ask: Callable[[str], Awaitable[None]], whose: str
) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    certificate = (
        theirs.issue_cert("127.0.0.1") if whose == "nobody's" else ours.issue_cert("other.example")
    )
    trusted = tmp_path / "ca.pem"
    ours.cert_pem.write_to_path(str(trusted))
    heard = bytearray()
    async with in_between(certificate, heard) as port:
        with pytest.raises((RedisConnectionError, OperationalError), match=r"(?i)certificate"):
            await ask(f"{URL.format(port=port)}?ssl_ca_certs={trusted}")
    assert heard == b""


@pytest.mark.parametrize("ask", [over_the_gate, over_the_broker])
async def test_with_the_right_one_it_talks(
    tmp_path: Path, ask: Callable[[str], Awaitable[None]]
) -> None:
    ours, heard, trusted = trustme.CA(), bytearray(), tmp_path / "ca.pem"
    ours.cert_pem.write_to_path(str(trusted))
    async with in_between(ours.issue_cert("127.0.0.1"), heard) as port:
        with contextlib.suppress(RedisError, OperationalError):  # it answers as no Redis does
            await ask(f"{URL.format(port=port)}?ssl_ca_certs={trusted}")
    assert b"hunter2-and-more" in heard
