"""Workers of an older release under load, the database migrated beneath them, workers of this one.

The older release is this repository's own past, from before the migration 0031: its code, its
schema, its runs. Without that history there is nothing to upgrade from.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest

from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.embedded.workers import worker_specs
from orchestrator.store import migrate, migrating
from orchestrator.store.engine import BUSY_SECONDS
from tests.bench.engine.place import ROOT, Place, Wish, set_up
from tests.faults.chaos.bystander import Bystander
from tests.faults.chaos.stage import new_folder, remove
from tests.faults.chaos.takeover import settled
from tests.faults.ledger.records import Records
from tests.faults.ledger.running import LedgerProcess, api_config
from tests.faults.workload import API, seeds

pytestmark = [
    pytest.mark.long, pytest.mark.broker, pytest.mark.postgres, pytest.mark.timeout(400),
]  # fmt: skip

FIRST_NEW, LAST_OLD = "0031", "0030"
SEED, RUNS = 5, 300
LOCK_SECONDS = 20.0  # of PostgreSQL's `lock_timeout`, as every connection of ours has it
LONGEST_SECONDS = 60.0
UP_SECONDS, SETTLED_SECONDS = 150.0, 120.0

SUBMIT = """
import asyncio, sys
from pathlib import Path
from orchestrator.service.submitting import Submission
from orchestrator.settings import load_settings
from orchestrator.store import migrate, open_store
from orchestrator.wiring_services import open_services
from tests.faults.workload import SHAPES, seeds

async def publish(settings):
    await migrate(settings.database)
    store = open_store(settings.database, pool_size=1)
    for shape in SHAPES:
        await store.publish(shape.plan, document=shape.name, by="test")
    await store.close()

async def main(seed, runs, enough):
    settings = load_settings()
    await publish(settings)
    print("published", flush=True)
    async with open_services(settings) as services:
        for number, one in enumerate(seeds(seed, runs)):
            await services.submitter.submit([
                Submission(workflow=one.shape.name, inputs=one.inputs, idempotency_key=one.name)
            ])
            print("submitted", number + 1, flush=True)
            if enough.exists():
                return
            await asyncio.sleep(0.1)

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
"""


@dataclass(kw_only=True)
class Held:
    """How long somebody had to wait for the database while it was migrated."""

    longest_seconds: float = 0.0
    looks: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def note(self, seconds: float) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        self.looks += 1


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older release's source tree."""
    found = _git("log", "--format=%H", f'-SHEAD = "{FIRST_NEW}"', "--", _path(migrating.__file__))
    if not found:
        pytest.skip(f"no history here from before migration {FIRST_NEW}")
    commit = f"{found.decode().split()[-1]}^"
    tree = tmp_path_factory.mktemp("older")
    archive = _git("archive", commit, "orchestrator", "tests/faults")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(tree, filter="data")
    assert f'HEAD = "{LAST_OLD}"' in (tree / _path(migrating.__file__)).read_text()
    return tree


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_runs_begun_on_an_older_schema_end_on_this_one(older: Path, database: str) -> None:
    folder = new_folder()
    with ExitStack() as stack:
        stack.callback(remove, folder)
        place = stack.enter_context(set_up(Wish(database=database), folder))
        (folder / "ledger").mkdir()
        ledger = stack.enter_context(LedgerProcess(folder / "ledger", latency_seconds=(0.1, 0.4)))
        _configure(place, ledger)
        tables = Bystander(place.settings.database)
        stack.callback(tables.close)
        begun = Children(place, stack)

        submitter = begun.submitter(older)
        old = begun.workers(older, "old", 2)
        _until(lambda: _submitted(submitter) >= 30, "runs of the older release")
        held = asyncio.run(_migrated(place))
        at_migration = _submitted(submitter)
        _until(lambda: _submitted(submitter) >= at_migration + 20, "runs of the older release, on")
        assert all(child.running for child in (*old, submitter)), submitter.log_tail()

        new = begun.workers(ROOT, "new", 1)
        pids = {child.pid for child in new}
        _until(lambda: pids <= tables.living().keys(), f"the newer release: {new[0].log_tail()}")
        (folder / "enough").touch()
        for child in old:
            child.signal(signal.SIGTERM)  # a warm shutdown: runs are handed over
        unsettled = asyncio.run(settled(tables, by=time.monotonic() + SETTLED_SECONDS))
        submitter.stop(by=time.monotonic() + 10)

        assert unsettled == 0
        assert held.looks > 0
        assert held.longest_seconds < min(LOCK_SECONDS, BUSY_SECONDS), held
        _judge(tables, ledger.records(), _submitted(submitter), at_migration)


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_who_has_to_wait_is_seen(database: str) -> None:
    """Otherwise the bound above would show nothing."""
    folder = new_folder()
    with ExitStack() as stack:
        stack.callback(remove, folder)
        place = stack.enter_context(set_up(Wish(database=database), folder))
        asyncio.run(migrate(place.settings.database))
        with _watched(place) as held:
            (_hold_sqlite if place.postgres is None else _hold_postgres)(place)
        assert 0.4 <= held.longest_seconds < LOCK_SECONDS


def _hold_sqlite(place: Place) -> None:
    path = place.folder / "orchestrator.db"
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as link:
        link.execute("BEGIN IMMEDIATE")
        time.sleep(0.6)


def _hold_postgres(place: Place) -> None:
    assert place.postgres is not None
    url = place.postgres.url
    with psycopg.connect(url) as holder, psycopg.connect(url) as waiter:
        holder.execute("LOCK TABLE runs")
        thread = threading.Thread(target=waiter.execute, args=("SELECT FROM runs",))
        thread.start()
        time.sleep(0.6)
        holder.rollback()
        thread.join()


class Children:
    """Processes of either release."""

    def __init__(self, place: Place, stack: ExitStack) -> None:
        self._place, self._stack = place, stack

    def submitter(self, tree: Path) -> Child:
        """Migrates to its schema, publishes, and submits until told that it is enough."""
        script = self._place.folder / "submit.py"
        script.write_text(SUBMIT)
        enough = str(self._place.folder / "enough")
        argv = (sys.executable, "-P", str(script), str(SEED), str(RUNS), enough)
        (child,) = self._started(tree, [ChildSpec(name="submitter", argv=argv)])
        _until(lambda: "published" in child.log_path.read_text(), "the older schema")
        return child

    def workers(self, tree: Path, name: str, count: int) -> list[Child]:
        """Of this tree: what is where the tests run is not to come before it (`-P`)."""
        specs = []
        for spec in worker_specs(count, env={}):
            program, *rest = spec.argv
            argv = tuple(part.replace(spec.name, f"{name}-{spec.name}") for part in rest)
            specs.append(replace(spec, name=f"{name}-{spec.name}", argv=(program, "-P", *argv)))
        return self._started(tree, specs)

    def _started(self, tree: Path, specs: list[ChildSpec]) -> list[Child]:
        env = {**self._place.env, "ORCHESTRATOR_TASK_MODULES": "[]", "PYTHONPATH": str(tree)}
        found = []
        for spec in specs:
            log = self._place.folder / "logs" / f"{spec.name}.log"
            found.append(Child(replace(spec, env=env), log))
            found[-1].start()
        self._stack.callback(stop_all, found)
        return found


async def _migrated(place: Place) -> Held:
    """To the newest schema, while somebody watches who has to wait for whom."""
    with _watched(place) as held:
        assert await migrate(place.settings.database)
    return held


@contextmanager
def _watched(place: Place) -> Iterator[Held]:
    held = Held()
    look = _look_at_sqlite if place.postgres is None else _look_at_postgres
    thread = threading.Thread(target=look, args=(place, held))
    thread.start()
    _until(lambda: held.looks > 0, "the first look")
    try:
        yield held
    finally:
        held.over.set()
        thread.join()


def _look_at_postgres(place: Place, held: Held) -> None:
    """The longest that any session has been waiting for a lock, again and again."""
    waiting = (
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)"
        " FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    )
    assert place.postgres is not None
    with psycopg.connect(place.postgres.url, autocommit=True) as link:
        while not held.over.wait(0.01):
            row = link.execute(waiting).fetchone()
            assert row is not None
            held.note(float(row[0]))


def _look_at_sqlite(place: Place, held: Held) -> None:
    """How long a writer waits for its turn, again and again."""
    path = place.folder / "orchestrator.db"
    with closing(sqlite3.connect(path, timeout=LONGEST_SECONDS, isolation_level=None)) as link:
        while not held.over.wait(0.01):
            began = time.monotonic()
            link.execute("BEGIN IMMEDIATE")
            link.execute("ROLLBACK")
            held.note(time.monotonic() - began)


def _judge(tables: Bystander, seen: Records, submitted: int, before: int) -> None:
    """Each run ended as its name says, and had each effect of a key once."""
    wanted = {one.name: one.expected.value for one in list(seeds(SEED, RUNS))[:submitted]}
    assert len(wanted) > before
    found = tables.statuses()
    assert {name: found.get(name) for name in wanted} == wanted
    effects = Counter((one.run, one.step, one.direction) for one in seen.effects)
    assert [link for link, count in effects.items() if count > 1] == []


def _configure(place: Place, ledger: LedgerProcess) -> None:
    config = api_config(ledger.address, token=False)
    (place.folder / "config" / "apis" / f"{API}.yaml").write_text(config)


def _submitted(submitter: Child) -> int:
    lines = submitter.log_path.read_text().splitlines()
    return sum(line.startswith("submitted") for line in lines)


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + UP_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def _path(file: str | None) -> str:
    assert file is not None
    return str(Path(file).relative_to(ROOT))


def _git(*arguments: str) -> bytes:
    """What it says; nothing where there is no repository or no such program."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=60, check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""
