"""Small documents of an address that this deployment's own settings name: an issuer's keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from orchestrator.errors import Unavailable

SECONDS = 5.0
MOST_BYTES = 1024 * 1024


async def fetch(url: str) -> bytes:
    """The body behind the URL, with status 200. No redirect is followed. Raises Unavailable."""
    limits = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise Unavailable("issuer", url, f"it answers {answer.status}")
            body = b"".join([part async for part in _at_most(answer, url)])
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("issuer", url, str(error) or type(error).__name__) from error
    return body


async def _at_most(answer: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    read = 0
    async for part in answer.content.iter_any():
        read += len(part)
        if read > MOST_BYTES:
            raise Unavailable("issuer", url, f"it answers with more than {MOST_BYTES} bytes")
        yield part
