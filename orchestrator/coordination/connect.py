"""Connections to Redis or Valkey that cannot hang: every wait ends."""

from __future__ import annotations

from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from orchestrator.errors import InvalidSetting, Problem

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 1.0
HEALTH_CHECK_SECONDS = 15


def connect(url: str) -> Redis:
    """A client; it connects when first used and again after a loss. Raises InvalidSetting.

    A connection found dead is replaced and the command sent once more: all our scripts may be
    repeated (a reservation made twice is only a reservation wasted).
    """
    try:
        return Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_keepalive=True,
            health_check_interval=HEALTH_CHECK_SECONDS,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
    except (ValueError, RedisError) as error:
        problem = Problem(place="gate_url", found=without_secrets(url), wanted=str(error)[:200])
        raise InvalidSetting("the gate's address is not valid", problems=[problem]) from None


def without_secrets(url: str) -> str:
    """The address as it may be shown."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an unreadable address"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
