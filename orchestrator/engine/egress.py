"""Which addresses requests may go to. Checked on the resolved address that is then connected to.

Private and loopback addresses are refused unless the API's configuration allows them; link-local
ones (cloud metadata lives there), multicast and unspecified ones always. A name that resolves to
several addresses is reached on the permitted ones only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)


class EgressRefused(Exception):
    """The address may not be connected to."""


def check_literal(host: str, *, allow_private: bool) -> None:
    """Refuse a host that is an address itself; names are checked when they are resolved."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return
    if not is_permitted(address, allow_private=allow_private):
        raise EgressRefused(_refusal(host, [str(address)]))


def is_permitted(address: Address, *, allow_private: bool) -> bool:
    """Whether a connection to this address may be made."""
    address = _embedded(address)
    if address in _METADATA or address.is_link_local or address.is_multicast:
        return False
    if address.is_unspecified:  # it reaches this machine
        return False
    if address.is_loopback or address.is_private:
        return allow_private
    return address.is_global


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if any: it is where the packets end."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


class GuardedResolver(AbstractResolver):
    """Resolves names to permitted addresses only, in bounded time.

    Raises EgressRefused, or OSError as the system's resolver does.
    """

    def __init__(self, *, allow_private: bool, timeout_seconds: float) -> None:
        self._inner = ThreadedResolver()
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await self._inner.resolve(host, port, family)
        except TimeoutError:
            raise OSError(f"resolving took more than {self._timeout_seconds:g} s") from None
        permitted = [result for result in found if self._permits(result)]
        if not permitted:
            raise EgressRefused(_refusal(host, sorted({result["host"] for result in found})))
        return permitted

    async def close(self) -> None:
        await self._inner.close()

    def _permits(self, result: ResolveResult) -> bool:
        address = ipaddress.ip_address(result["host"].partition("%")[0])
        return is_permitted(address, allow_private=self._allow_private)


def _refusal(host: str, addresses: list[str]) -> str:
    return f"{host} is at {', '.join(addresses)}, where no request may go"
