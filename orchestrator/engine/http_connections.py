"""Connections to one API: aiohttp's, made to permitted addresses, with three holes closed.

* An answer that the parser gives up on halfway ends at once; aiohttp lets whoever reads its body
  wait until the time is over.
* A body without a length whose connection is reset is not taken for a whole one.
* Whatever arrives while no request is under way makes a connection useless, be it half an answer;
  also when it has reached this machine, but not the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import select

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.egress import GuardedResolver, guarded_sockets

DNS_CACHE_SECONDS = 10


class Protocol(ResponseHandler):
    """One connection's end here."""

    idle = False  # it is kept, and no request of ours waits for an answer

    def data_received(self, data: bytes) -> None:
        if self.idle:
            self.force_close()
        super().data_received(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self._fail_body(exc)
        super().set_exception(exc, exc if exc_cause is None else exc_cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None:
            self._fail_body(aiohttp.ClientPayloadError("reset"))
        super().connection_lost(exc)

    def _fail_body(self, error: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)


class Connector(aiohttp.TCPConnector):
    """Makes and keeps connections as an API's configuration says."""

    def __init__(self, config: ApiConfig) -> None:
        allowed = config.allow_private_addresses
        super().__init__(
            limit=config.connections,
            resolver=GuardedResolver(allow_private=allowed, timeout_seconds=config.connect_seconds),
            socket_factory=guarded_sockets(allow_private=allowed),
            ttl_dns_cache=DNS_CACHE_SECONDS,
            force_close=config.keep_alive_seconds == 0,
            keepalive_timeout=config.keep_alive_seconds or None,
        )
        self._factory = functools.partial(_protocol, asyncio.get_running_loop())


def _protocol(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return Protocol(loop)


def is_stale(connection: Connection) -> bool:
    """Whether a connection was closed by the server, or has got an answer that nobody asked for."""
    protocol, transport = connection.protocol, connection.transport
    assert isinstance(protocol, Protocol), "the connector makes no others"
    if protocol.should_close or transport is None:
        return True
    if not protocol.idle:
        return False  # a new one; there, tickets of TLS may be waiting to be read
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
