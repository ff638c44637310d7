"""One real Kinto for the session, with the shop opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.world import open_shop, start_kinto
from orchestrator.embedded.process import stop_all


@pytest.fixture(scope="session")
def kinto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the server."""
    if find_spec("kinto") is None or find_spec("granian") is None:
        pytest.skip("the demo extra is not installed")
    log_path: Path = tmp_path_factory.mktemp("kinto") / "kinto.log"
    child = start_kinto(log_path)
    try:
        asyncio.run(_open(child.spec.address))
        yield child.spec.address
    finally:
        stop_all([child])


async def _open(url: str) -> None:
    async with KintoClient(url, user="owner") as client:
        await open_shop(client)
