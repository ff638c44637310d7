"""Death by held lock: whoever ends, however, holds nothing any more."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import Unavailable
from orchestrator.ports import WorkerLocks
from orchestrator.store import open_worker_locks
from orchestrator.store.engine import parse_url
from orchestrator.store.locks_advisory import AdvisoryLocks
from orchestrator.store.locks_files import FileLocks
from tests.store.backends import Backend, locks_of
from tests.store.making import eventually, new_id

HOLDER = """
import asyncio, sys
from orchestrator.store import open_worker_locks
async def main():
    locks = open_worker_locks(sys.argv[1])
    await locks.hold(sys.argv[2])
    print("held", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
async def locks(backend: Backend) -> AsyncIterator[WorkerLocks]:
    made = backend.locks()
    yield made
    await made.release()


@pytest.fixture
async def watcher(backend: Backend) -> AsyncIterator[WorkerLocks]:
    made = backend.locks()
    yield made
    await made.release()


@asynccontextmanager
async def holder(url: str, worker_id: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real process that holds a lock."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, url, worker_id, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_held_ones_are_not_free(locks: WorkerLocks, watcher: WorkerLocks) -> None:
    mine, nobodys = new_id(), new_id()
    await locks.hold(mine)
    for looks in (watcher, locks):
        assert await looks.free_among([mine, nobodys]) == [nobodys]
    await locks.release()
    assert await watcher.free_among([mine, nobodys]) == [mine, nobodys]
    assert await watcher.free_among([]) == []


async def test_holding_another_gives_the_first_back(
    locks: WorkerLocks, watcher: WorkerLocks
) -> None:
    first, second = new_id(), new_id()
    await locks.hold(first)
    await locks.hold(second)
    assert await watcher.free_among([first, second]) == [first]


async def test_two_cannot_hold_one(
    locks: WorkerLocks, watcher: WorkerLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.locks_files._HOLD_SECONDS", 0.1)
    mine = new_id()
    await locks.hold(mine)
    with pytest.raises(Unavailable, match="worker lock"):
        await watcher.hold(mine)
    assert await watcher.free_among([mine]) == []


async def test_looking_again_and_again_disturbs_nobody(
    locks: WorkerLocks, watcher: WorkerLocks
) -> None:
    ids = [new_id() for _ in range(20)]

    async def look() -> None:
        for _ in range(20):
            await watcher.free_among(ids)
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for worker_id in ids:
        await locks.hold(worker_id)
        assert worker_id not in await watcher.free_among([worker_id])
    await looking


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_the_kernel_frees_what_a_process_held(url: str, ending: signal.Signals) -> None:
    watcher = locks_of(url)
    worker_id = new_id()
    async with holder(url, worker_id) as process:
        assert await watcher.free_among([worker_id]) == []
        process.send_signal(ending)

        async def is_free() -> bool:
            return await watcher.free_among([worker_id]) == [worker_id]

        await eventually(is_free, "the lock is free", seconds=2)


async def test_a_stopped_process_still_holds(url: str) -> None:
    watcher = locks_of(url)
    worker_id = new_id()
    async with holder(url, worker_id) as process:
        process.send_signal(signal.SIGSTOP)
        assert await watcher.free_among([worker_id]) == []
        process.send_signal(signal.SIGCONT)


async def test_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    folder = tmp_path / "a.db.workers"
    dead, alive = new_id(), new_id()
    async with holder(url, dead) as process:
        process.kill()
        await process.wait()
    locks, watcher = FileLocks(folder), FileLocks(folder)
    await locks.hold(alive)
    assert await watcher.free_among([dead, alive]) == [dead]
    assert (folder / f"{dead}.lock").exists()  # still known: not recovered yet
    assert await watcher.free_among([alive]) == []
    assert [path.stem for path in folder.iterdir()] == [alive]
    assert await watcher.free_among([]) == []
    assert [path.stem for path in folder.iterdir()] == [alive]  # held, though nobody asked
    await locks.release()
    assert list(folder.iterdir()) == []


@pytest.mark.postgres
async def test_a_lost_connection_is_replaced_and_the_lock_taken_again(postgres_url: str) -> None:
    locks, watcher = locks_of(postgres_url), locks_of(postgres_url)
    worker_id = new_id()
    await locks.hold(worker_id)
    before = await holding_sessions(postgres_url)
    assert len(before) == 1
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s)", [before.copy().pop()])

    async def is_held_anew() -> bool:
        now = await holding_sessions(postgres_url)
        return len(now) == 1 and now != before

    await eventually(is_held_anew, "the lock is held by a new session", seconds=5)
    assert await watcher.free_among([worker_id]) == []
    await locks.release()

    async def is_free() -> bool:
        return await watcher.free_among([worker_id]) == [worker_id]

    await eventually(is_free, "the lock is free", seconds=2)


async def holding_sessions(url: str) -> set[int]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        found = await admin.execute(
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        return {row[0] for row in await found.fetchall()}


@pytest.mark.postgres
async def test_just_after_a_start_nobody_is_called_dead(postgres_url: str) -> None:
    watcher = AdvisoryLocks(parse_url(postgres_url), quiet_seconds_after_start=86_400)
    assert await watcher.free_among([new_id()]) == []


async def test_an_unreachable_server_is_unavailable() -> None:
    locks = open_worker_locks("postgresql://me:secret@127.0.0.1:1/nowhere")
    with pytest.raises(Unavailable) as failed:
        await locks.hold(new_id())
    assert "secret" not in str(failed.value)
    assert "127.0.0.1:1/nowhere" in str(failed.value)
