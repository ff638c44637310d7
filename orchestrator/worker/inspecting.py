"""A broker that is not one Redis server, as `doctor` and the metrics see it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from orchestrator.errors import Unavailable
from orchestrator.ports import BrokerFacts
from orchestrator.worker.redis_link import broker_address

_TRIES = 5


class KombuInspector:
    """Port `BrokerInspector` through a connection of its own, in a thread.

    Such brokers say nothing of memory or clients here, and the queues are declared durable, so that
    they are asked for no policy: RabbitMQ evicts nothing.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    async def facts(self) -> BrokerFacts:
        """Ask the server. Raises Unavailable."""
        return await asyncio.to_thread(self._facts)

    def _facts(self) -> BrokerFacts:
        where = broker_address(self._app)
        try:
            with self._app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, timeout=5.0)
                taken = sorted(_round_trip(connection) for _ in range(_TRIES))
                server = getattr(connection.connection, "server_properties", {})
        except (KombuError, OSError) as error:
            raise Unavailable("broker", where, f"{type(error).__name__}: {error}"[:300]) from error
        return BrokerFacts(
            address=where, version=_version(server, self._app.connection_for_read().transport_cls),
            maxmemory_policy="noeviction", maxmemory=0, used_memory=0, append_only=True,
            clients=0, max_clients=0, round_trip_seconds=taken[_TRIES // 2],
        )  # fmt: skip


def _round_trip(connection: Any) -> float:
    """Opening a channel is answered by the server."""
    begun = time.monotonic()
    connection.channel().close()
    return time.monotonic() - begun


def _version(server: dict[str, Any], transport: object) -> str:
    return f"{server.get('product', transport)} {server.get('version', '')}".strip()
