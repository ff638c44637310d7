"""A Redis client for asyncio on the broker's own server, where the broker is Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from orchestrator.errors import Unavailable

_SOCKET_SECONDS = 10.0


class RedisLink:
    """One client per event loop (its sockets belong to the loop that opened them)."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, aioredis.Redis]
        self._clients = WeakKeyDictionary()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[aioredis.Redis]:
        """The client of the running loop. Its errors leave as Unavailable."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._connect()
        try:
            yield client
        except (RedisError, OSError) as error:
            raise Unavailable("broker", broker_address(self._app), str(error)) from error

    async def close(self) -> None:
        """Close the running loop's client."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _connect(self) -> aioredis.Redis:
        info = self._app.connection_for_write()
        ssl: dict[str, Any] = info.ssl if isinstance(info.ssl, dict) else {}
        return aioredis.Redis.from_url(
            info.as_uri(include_password=True),
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS / 2,
            # Once, at once: an idle connection may have been closed. What fails then is for the
            # sweep, not for a caller who waits.
            retry=Retry(NoBackoff(), 1),
            **ssl,
        )


def is_plain_redis(app: Celery) -> bool:
    """Whether the broker is one Redis server (no sentinel, cluster or socket file)."""
    url = app.conf.broker_url or ""
    return url.startswith(("redis://", "rediss://")) and ";" not in url


def broker_address(app: Celery) -> str:
    """The broker's address without its password."""
    return str(app.connection_for_write().as_uri())
