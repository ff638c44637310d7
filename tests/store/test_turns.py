"""Turns at writing to SQLite: one at a time, none for ever, and the dead hold none."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.errors import Unavailable
from orchestrator.store.turns import Turns

HOLDER = """
import asyncio, sys
from pathlib import Path
from orchestrator.store.turns import Turns
async def main():
    async with Turns(Path(sys.argv[1])).mine(within_seconds=1):
        print("mine", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_one_at_a_time_among_many(tmp_path: Path) -> None:
    processes = [Turns(tmp_path / "a.db") for _ in range(3)]  # an open file each, as processes have
    inside = most = 0

    async def write(turns: Turns) -> None:
        nonlocal inside, most
        async with turns.mine(within_seconds=10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(write(turns) for turns in processes for _ in range(20)))
    assert most == 1
    for turns in processes:
        turns.close()


async def test_whoever_waits_too_long_is_told(tmp_path: Path) -> None:
    first, second = Turns(tmp_path / "a.db"), Turns(tmp_path / "a.db")
    async with first.mine(within_seconds=1):
        with pytest.raises(Unavailable, match="locked by another process"):
            async with second.mine(within_seconds=0.05):
                pytest.fail("two had the turn")
    async with second.mine(within_seconds=1):
        pass
    first.close()
    second.close()


async def test_a_process_that_writes_all_the_time_lets_others_in(tmp_path: Path) -> None:
    """Its heartbeat, on a thread and a connection of its own, would else look dead."""
    begun, enough = threading.Event(), threading.Event()

    async def write(busy: Turns) -> None:
        while not enough.is_set():
            async with busy.mine(within_seconds=10):
                begun.set()
                await asyncio.sleep(0.005)

    async def write_on_and_on() -> None:
        busy = Turns(tmp_path / "a.db")
        await asyncio.gather(*(write(busy) for _ in range(3)))
        busy.close()

    writers = asyncio.create_task(asyncio.to_thread(asyncio.run, write_on_and_on()))
    heartbeat = Turns(tmp_path / "a.db")
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        for _ in range(10):
            async with heartbeat.mine(within_seconds=1):
                pass
    finally:
        enough.set()
        await writers
    heartbeat.close()


async def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "a.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path / "a.db"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"mine\n"
        with pytest.raises(Unavailable):
            async with turns.mine(within_seconds=0.05):
                pytest.fail("two had the turn")
    finally:
        process.kill()
        await process.wait()
    async with turns.mine(within_seconds=1):
        pass
    turns.close()
