"""A backup is restored while the world has gone on: nothing is lost, nothing is guessed.

The ledger has seen what the restored tables do not know. Both databases, real processes.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.core.states import FINAL
from orchestrator.service.restoring import Doubted
from orchestrator.wiring_services import Services, open_services
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.judging import judge
from tests.faults.chaos.postgres import program
from tests.faults.chaos.stage import Mood, Scene, Stage, new_folder, prepare, remove, set_up
from tests.faults.chaos.submission import Submissions
from tests.faults.checker.outcomes import named_by
from tests.faults.checker.report import tell
from tests.faults.checker.stories import Story
from tests.faults.workload import BY_NAME, Kind, RunSeed, seeds

RUNS = 60
LATE = "accepted-after-the-backup"
MOOD = Mood(latency_seconds=(0.3, 0.6))
SLOW_SECONDS = (2.0, 3.0)
"""For an answer while a backup is made: on a busy machine that takes as long as a whole run."""
END_SECONDS = 120.0
TURNING_BACK = [RunSeed(name=f"back-{n}-f4", shape=BY_NAME["mixed"]) for n in range(10)]
"""Steps without a key, whose undos have one: by the loss many of them were done and undone."""
JUDGED = {
    "lost", "unkeyed_repeats", "unexpected_endings", "needless_escalations",
    "escalations_incomplete", "limits_exceeded", "secrets",
}  # fmt: skip
"""The checker's other promises hold tables and ledger against each other, call by call: here the
tables have forgotten calls. What stands at the API is judged by `_wrong` instead."""


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_restored_database_goes_on_without_guessing(database: str) -> None:
    with _stage(database) as stage:
        wanted = [*seeds(5, RUNS), *TURNING_BACK]
        stage.supervisor.start()
        acknowledged, put_back = asyncio.run(_until_the_loss(stage, wanted))
        stage.supervisor.stop()
        before = stage.ledger.statistics()["effects"]
        put_back()

        told = asyncio.run(_restore(stage))
        assert told.runs > RUNS / 4, "too little was under way at the backup to show anything"
        assert min(told.keyed, told.asked, told.people) > 0, told
        assert "was accepted; the newest there is" in told.missing

        stage.supervisor.start()
        asyncio.run(_until_settled(stage))
        stage.supervisor.stop()
        assert stage.ledger.statistics()["effects"] > before, "nothing was left to do: no drill"

        kept = {name: run for name, run in acknowledged.items() if name != LATE}
        found = judge(stage, wanted, kept).verdict
        broken = [each for each in found.violations if each.invariant in JUDGED]
        stories = [found.stories[seed.name] for seed in wanted]
        wrong = [(story.name, why) for story in stories for why in _wrong(story)]
        told = "\n".join(line for name, _ in wrong for line in tell(found.stories[name]))
        assert (broken, wrong) == ([], []), told
        assert any("restored" in why for _, why in found.unresolvable), "nothing was in doubt"


def _wrong(story: Story) -> Iterator[str]:
    """What stands at the API, all that the run did before and after the restore together."""
    named = named_by(story.escalations[-1]) if story.escalations else set()
    for do, undo in story.steps:
        done, undone = len(do.effects), len(undo.effects)
        stands = done - undone
        if stands not in (0, 1) and do.step not in named:
            yield f"{do.step} was done {done} times and undone {undone} times"
        if done > 1 and do.kind is not Kind.VERIFIED:
            yield f"{do.step}, of which nobody can ask, was done {done} times"
        if story.status == "succeeded" and do.has_effect and not stands:
            yield f"{do.step} does not stand in a run that succeeded"
        if story.status == "compensated" and undo.has_effect and stands:
            yield f"{do.step} stands in a run that was compensated"
        if story.status == "escalated" and stands and do.step not in named:
            yield f"{do.step} stands, and the escalation does not name it"


@contextmanager
def _stage(database: str) -> Iterator[Stage]:
    folder = new_folder()
    try:
        with set_up(Scene(database=database, mood=MOOD), folder) as stage:
            yield stage
    finally:
        remove(folder)


async def _until_the_loss(
    stage: Stage, wanted: list[RunSeed]
) -> tuple[dict[str, str], Callable[[], None]]:
    """Names of runs and their ids, and what brings the backup back. Workers go on after it."""
    await prepare(stage)
    await workers_up(stage)
    submissions = Submissions()
    async with open_services(stage.settings) as services:
        await submissions.spread(services.submitter, wanted, seconds=0)
        await _until(lambda: _ended(stage) >= RUNS // 10)
        stage.ledger.latency(*SLOW_SECONDS)
        ended = _ended(stage)
        put_back = await asyncio.to_thread(_back_up, stage)
        stage.ledger.latency(*MOOD.latency_seconds)
        late = [RunSeed(name=LATE, shape=wanted[0].shape)]
        await submissions.spread(services.submitter, late, seconds=0)
        await _until(lambda: _ended(stage) >= ended + RUNS // 4)
        await _until_noticed(services)
    return submissions.acknowledged, put_back


async def _until_noticed(services: Services) -> None:
    """Until the workers have told how far the tables have come."""
    reached = await services.restoring.high_water()
    end = time.monotonic() + END_SECONDS
    while (await services.restoring.remembered()).newest_run < reached.newest_run:
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


async def _restore(stage: Stage) -> Doubted:
    async with open_services(stage.settings) as services:
        (bad,) = [each for each in await services.doctor.checks() if each.name == "database age"]
        assert bad.verdict == "bad", bad
        looked = await services.restoring.look()
        told = await services.restoring.restore(by="drill")
        assert looked == told
        assert not [e for e in await services.doctor.checks() if e.name == "database age"]
        return told


async def _until_settled(stage: Stage) -> None:
    await workers_up(stage)
    await _until(lambda: stage.tables.unsettled() == 0)


async def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + END_SECONDS
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, "not within its time"
        await asyncio.sleep(0.1)


def _ended(stage: Stage) -> int:
    counts = stage.tables.counts()
    return sum(counts.get(str(status), 0) for status in FINAL)


# --- backups --------------------------------------------------------------------------------------


def _back_up(stage: Stage) -> Callable[[], None]:
    """Make one while everything goes on; the answer brings it back."""
    backup = stage.state_dir / "backup"
    if stage.postgres is None:
        with (
            closing(sqlite3.connect(stage.sqlite_path)) as live,
            closing(sqlite3.connect(backup)) as copy,
        ):
            live.backup(copy)
        return lambda: _put_file_back(stage, backup)
    url = stage.postgres.url
    _run("pg_dump", "--format=custom", f"--file={backup}", url)
    return lambda: _put_dump_back(url, backup)


def _put_file_back(stage: Stage, backup: Path) -> None:
    stage.tables.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{stage.sqlite_path}{suffix}").unlink(missing_ok=True)
    stage.sqlite_path.write_bytes(backup.read_bytes())


def _put_dump_back(url: str, backup: Path) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("DROP SCHEMA public CASCADE")
        link.execute("CREATE SCHEMA public")
    _run("pg_restore", "--exit-on-error", f"--dbname={url}", str(backup))


def _run(name: str, *options: str) -> None:
    done = subprocess.run(
        [program(name), *options], env={**os.environ, "LC_ALL": "C"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
