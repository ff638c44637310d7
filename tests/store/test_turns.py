"""Turns at writing to SQLite: one at a time, none for ever, and nobody is kept out by them."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path

from orchestrator.store import migrate, open_store
from orchestrator.store.turns import Turns
from tests.store.making import accepted

HOLDER = """
import asyncio, sys
from pathlib import Path
from orchestrator.store.turns import Turns
async def main():
    async with Turns(Path(sys.argv[1])).mine():
        print("mine", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_one_at_a_time_among_many(tmp_path: Path) -> None:
    processes = [Turns(tmp_path / "a.db") for _ in range(3)]  # an open file each, as processes have
    inside = most = 0

    async def write(turns: Turns) -> None:
        nonlocal inside, most
        async with turns.mine(patience_seconds=10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(write(turns) for turns in processes for _ in range(20)))
    assert most == 1
    for turns in processes:
        turns.close()


async def test_whoever_waits_too_long_goes_ahead_without(tmp_path: Path) -> None:
    first, second = Turns(tmp_path / "a.db"), Turns(tmp_path / "a.db")
    async with first.mine() as mine:
        assert mine
        async with second.mine(patience_seconds=0.05) as early:
            assert not early
        async with second.mine(patience_seconds=0.05) as again:
            assert not again, "it has freed what was not its own"
    async with second.mine() as theirs:
        assert theirs
    first.close()
    second.close()


async def test_a_process_that_writes_all_the_time_lets_others_in(tmp_path: Path) -> None:
    """Its heartbeat, on a thread and a connection of its own, would else look dead."""
    begun, enough = threading.Event(), threading.Event()

    async def write(busy: Turns) -> None:
        while not enough.is_set():
            async with busy.mine(patience_seconds=10):
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
            async with heartbeat.mine():
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
        async with turns.mine(patience_seconds=0.05) as came:
            assert not came
    finally:
        process.kill()
        await process.wait()
    async with turns.mine() as came:
        assert came
    turns.close()


async def test_a_stopped_holder_keeps_nobody_from_writing(tmp_path: Path) -> None:
    """It stands between its turn and its transaction, for as long as it is stopped."""
    path = tmp_path / "a.db"
    await migrate(f"sqlite:///{path}")
    store = open_store(f"sqlite:///{path}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"mine\n"
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(5):
            for _ in range(20):  # waits once, not at each write
                await accepted(store)
    finally:
        process.kill()
        await process.wait()
        await store.close()
