"""The guard at the way out: connections are made to permitted addresses only (`addresses.py`).

It stands in two places. The resolver drops what is forbidden, so that a name with several addresses
is reached on the permitted ones. And nothing gets a socket without being looked at once more, with
the very address that is then connected to: neither a literal address, nor a name that changes its
mind between two questions, nor a cache leads around it. A connection that is kept was looked at
when it was made; it cannot move.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from aiohttp import AddrInfoType, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator.engine.addresses import address_of, is_permitted, refusal


class EgressRefused(OSError):
    """The address may not be connected to.

    An OSError, since that is what a race between several addresses expects of each.
    """


def guarded_sockets(*, allow_private: bool) -> Callable[[AddrInfoType], socket.socket]:
    """Makes sockets for connections to permitted addresses; raises EgressRefused for others."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        host = str(where[0])
        if not is_permitted(address_of(host), allow_private=allow_private):
            raise EgressRefused(refusal(host, [host], allow_private=allow_private))
        return socket.socket(family, kind, protocol)

    return make


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
            places = {result["host"] for result in found}
            raise EgressRefused(refusal(host, places, allow_private=self._allow_private))
        return permitted

    async def close(self) -> None:
        await self._inner.close()

    def _permits(self, result: ResolveResult) -> bool:
        return is_permitted(address_of(result["host"]), allow_private=self._allow_private)
