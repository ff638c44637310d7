"""Journeys that wait, are held, lose their worker, turn back or cannot: the test's files decide.

Inside `folder`, `fails-<step>` makes a step (or its undo) fail for good, `waits-<step>` makes it
ask for another try once, `kills-<step>` makes it end its worker once, `hold` holds all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from orchestrator import NotLanded, RetryPolicy, Workflow, step, task

# Task events are buffered for a moment; what happened before the worker's end is to be seen.
_EVENTS_ARE_OUT_SECONDS = 0.5


async def _go(folder: str, name: str) -> None:
    where = Path(folder)
    if _once(where / f"kills-{name}"):
        await asyncio.sleep(_EVENTS_ARE_OUT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)
    if _once(where / f"waits-{name}"):
        raise NotLanded("not yet", retryable=True, retry_after_seconds=0.3)
    while (where / "hold").exists():  # noqa: ASYNC110 - the test is another process
        await asyncio.sleep(0.05)
    if (where / f"fails-{name}").exists():
        raise NotLanded(f"{name} is refused")


def _once(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


@task(effects="keyed")
async def pack(folder: str) -> None:
    await _go(folder, "pack")


@task(effects="keyed")
async def unpack(folder: str) -> None:
    await _go(folder, "unpack")


@task(effects="keyed")
async def book(folder: str) -> None:
    await _go(folder, "book")


@task(effects="keyed")
async def unbook(folder: str) -> None:
    await _go(folder, "unbook")


@task(effects="none")
async def look(folder: str) -> None:
    await _go(folder, "look")


@task(effects="keyed")
async def travel(folder: str) -> None:
    await _go(folder, "travel")


@task(effects="keyed")
async def come_back(folder: str) -> None:
    await _go(folder, "come_back")


journey = (
    Workflow("journey", inputs={"folder": str})
    .step(step(pack, compensate=unpack, retry=RetryPolicy()))
    .step(book, compensate=unbook)
    .step(look)
    .step(travel, compensate=come_back)
)


@task(effects="none")
def count(number: int) -> dict[str, int]:
    return {"counted": number + 1}


@task(effects="none")
async def recount(counted: int) -> dict[str, int]:
    return {"recounted": counted}


trifle = Workflow("trifle", inputs={"number": int}).step(count).step(recount)
