"""What a run costs a worker while it waits in a slow API."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.engine import costs, ours
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Place, Wish

_POLL_SECONDS = 0.2


def settings(wish: Wish) -> dict[str, Any]:
    """Of the one worker: it takes all of them, and does not wait for the API when it ends."""
    return {"concurrency": wish.runs, "shutdown_grace_seconds": 0}


async def round_of(place: Place) -> Round:
    """All in the API at once. Raises TimeoutError."""
    assert place.stub is not None
    place.empty_broker()
    async with ours.workers(place) as crew:
        (pid,) = crew.parts["workers"]
        idle, began = costs.resident_bytes(pid), time.perf_counter()
        before = costs.cpu_seconds(crew.parts)
        await crew.submit(place.wish.runs)
        async with asyncio.timeout(ours.PATIENCE_SECONDS):
            while await asyncio.to_thread(_in_flight, place) < place.wish.runs:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(_POLL_SECONDS)
        seconds, busy = time.perf_counter() - began, costs.resident_bytes(pid)
        spent = costs.difference(before, costs.cpu_seconds(crew.parts))
        return Round(
            runs=place.wish.runs, steps=1, seconds=seconds, cpu_seconds=spent,
            peak_bytes=costs.peak_bytes([pid]),
            more={
                "idle_memory_mib": idle / 2**20,
                "memory_of_a_run_kib": (busy - idle) / place.wish.runs / 1024,
            },
        )  # fmt: skip


def _in_flight(place: Place) -> int:
    assert place.stub is not None
    return int(place.stub.statistics()["in_flight"])
