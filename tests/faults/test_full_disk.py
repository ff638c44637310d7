"""PostgreSQL's disk is full: nothing is half recorded, and all goes on when there is room again.

Its data lie in a file system of their own, in memory, which takes the right to mount one.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import Unavailable
from orchestrator.wiring_services import open_services
from tests.conftest import skip_or_fail
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.judging import judge
from tests.faults.chaos.stage import Mood, Scene, Stage, new_folder, prepare, remove, set_up
from tests.faults.chaos.submission import Submissions
from tests.faults.workload import RunSeed, seeds

RUNS = 40
DISK_BYTES = 160 * 1024 * 1024
FULL_SECONDS = 2.0
SETTLED_SECONDS = 120.0
MOST_SEGMENTS = 30
MOOD = Mood(latency_seconds=(0.3, 0.6))


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    remove(made)


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A small file system."""
    place = folder / "disk"
    place.mkdir()
    size = f"size={DISK_BYTES},mode=0755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    if mounted.returncode:
        skip_or_fail(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], timeout=10, check=True)


@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.broker
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_it_goes_on_when_there_is_room(folder: Path, disk: Path) -> None:
    wanted = list(seeds(15, RUNS))
    scene = Scene(database="postgres", disk=disk, mood=MOOD, settings={"concurrency": RUNS})
    with set_up(scene, folder) as stage:
        stage.supervisor.start()
        acknowledged = asyncio.run(_play(stage, disk, wanted))
        stage.supervisor.stop()
        assert set(acknowledged) == {seed.name for seed in wanted}
        found = judge(stage, wanted, acknowledged)
        assert found.clean, found.story()


async def _play(stage: Stage, disk: Path, wanted: list[RunSeed]) -> dict[str, str]:
    await prepare(stage)
    await workers_up(stage)
    before, meanwhile = Submissions(), Submissions()
    filler = disk / "filler"
    async with open_services(stage.settings) as services:
        await before.spread(services.submitter, wanted[: RUNS // 2], seconds=0)
        _fill(filler)
        later = asyncio.create_task(
            meanwhile.spread(services.submitter, wanted[RUNS // 2 :], seconds=1.0)
        )
        try:
            await _watched(stage, until=time.monotonic() + FULL_SECONDS)
            said = await asyncio.to_thread(_until_it_gives_up, stage)
            with pytest.raises(Unavailable):
                await services.runs.get("0" * 8)
            await _watched(stage, until=time.monotonic() + FULL_SECONDS)
        finally:
            filler.unlink()
        assert "No space left on device" in said + stage.logs.joinpath("postgres.log").read_text()
        while not later.done():
            await _watched(stage, until=time.monotonic() + 0.2)
        await later
        assert meanwhile.retried > 0, "nobody noticed that the disk was full"
        await _settled(stage)
    return before.acknowledged | meanwhile.acknowledged


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"-" * 4096)


def _until_it_gives_up(stage: Stage) -> str:
    """PostgreSQL ends when it cannot write ahead any more; what it said."""
    assert stage.postgres is not None
    try:
        with psycopg.connect(stage.postgres.url, autocommit=True, connect_timeout=5) as link:
            for _ in range(MOST_SEGMENTS):
                link.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000))")
                link.execute("SELECT pg_switch_wal()")
    except psycopg.Error as error:
        return str(error)
    raise AssertionError(f"{MOST_SEGMENTS} segments went onto a full disk")


async def _settled(stage: Stage) -> None:
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        await _watched(stage, until=time.monotonic() + 0.2)
        with suppress(Exception):  # it is starting
            if await asyncio.to_thread(stage.tables.unsettled) == 0:
                return
        assert time.monotonic() < end, "runs that do not settle"


async def _watched(stage: Stage, *, until: float) -> None:
    """Whatever has ended is started again, as a service manager does."""
    assert stage.postgres is not None
    while time.monotonic() < until:
        stage.watch()
        if not stage.postgres.child.running:
            stage.postgres.child.start()
        await asyncio.sleep(0.1)
