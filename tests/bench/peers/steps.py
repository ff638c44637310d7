"""What the steps of every peer do, in its workers: nothing, or one POST to the stub."""

from __future__ import annotations

import os

import aiohttp

from tests.bench.peers.names import STUB_VARIABLE

_CONNECTIONS = 500  # as many as the orchestrator's workers may have
_session: list[aiohttp.ClientSession] = []  # of this process


async def work(number: int) -> None:
    """Nothing at all."""


async def undo(number: int) -> None:
    """Nothing at all."""


async def call(number: int) -> None:
    """One POST on a kept-alive connection. Raises aiohttp.ClientError."""
    if not _session:
        _session.append(_opened())
    headers = {"Idempotency-Key": str(number)}
    async with _session[0].post(f"/keyed/{number}", headers=headers) as answer:
        await answer.read()


async def close() -> None:
    """The connections, where a worker ends in good order."""
    while _session:
        await _session.pop().close()


def _opened() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    return aiohttp.ClientSession(
        os.environ[STUB_VARIABLE], connector=connector, raise_for_status=True
    )
