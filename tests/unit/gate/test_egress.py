"""Names are resolved to permitted addresses only, and no socket leads to another one."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from orchestrator.engine.egress import EgressRefused, GuardedResolver, guarded_sockets

METADATA, LOOPBACK, PUBLIC = "169.254.169.254", "127.0.0.1", "93.184.215.14"


def answers(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """What every name resolves to."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port)) for found in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def resolve(host: str, *, allow_private: bool = False) -> list[str]:
    resolver = GuardedResolver(allow_private=allow_private, timeout_seconds=5)
    try:
        return [found["host"] for found in await resolver.resolve(host, 80)]
    finally:
        await resolver.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.1", "0x7f000001"])
async def test_names_and_odd_spellings_are_checked_where_they_lead(host: str) -> None:
    with pytest.raises((EgressRefused, OSError)):
        await resolve(host)


async def test_a_permitted_name_resolves() -> None:
    assert await resolve("localhost", allow_private=True) == [LOOPBACK]


async def test_of_several_addresses_the_forbidden_ones_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, METADATA, PUBLIC, LOOPBACK)
    assert await resolve("mixed.example") == [PUBLIC]
    assert await resolve("mixed.example", allow_private=True) == [PUBLIC, LOOPBACK]


async def test_a_name_with_forbidden_addresses_alone_is_refused_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, METADATA, LOOPBACK)
    with pytest.raises(EgressRefused, match=r"x\.example is at 127\.0\.0\.1 \(loopback\), 169"):
        await resolve("x.example")


@pytest.mark.parametrize("host", [LOOPBACK, METADATA, "::1", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_no_socket_for_a_forbidden_address(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    make = guarded_sockets(allow_private=False)
    with pytest.raises(EgressRefused, match="where no request may go"):
        make((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 80)))


def test_a_socket_for_a_permitted_address() -> None:
    make = guarded_sockets(allow_private=True)
    with make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, 80))) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
