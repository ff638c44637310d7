"""A short chaos run on PostgreSQL (`make long`: on SQLite too), and the parts that need none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.faults.chaos.judging import ENDINGS, ZEROS
from tests.faults.chaos.recovered import Recoveries, percentile
from tests.faults.chaos.schedule import (
    ALWAYS,
    BY_DATABASE,
    LONGEST_GAP,
    QUIET_AFTER_A_KILL,
    SHORTEST_GAP,
    Kind,
    schedule,
)

RUNS, SECONDS = 120, 15


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("database", "seed"), [pytest.param("sqlite", 1, marks=pytest.mark.long), ("postgres", 2)]
)
def test_every_zero_is_a_zero(database: str, seed: int, folder: Path) -> None:
    """The command itself, so that one JSON object, exit code and cleaning up are seen as well."""
    command = "from orchestrator.cli.main import run; run()"
    options = ("--runs", RUNS, "--seconds", SECONDS, "--seed", seed, "--db", database, "--json")
    done = subprocess.run(
        [sys.executable, "-c", command, "bench", "chaos", *map(str, options)],
        cwd=folder, env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-20_000:]
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert found["runs"] == RUNS == sum(found[name] for name in ENDINGS)
    assert sum(found["faults"].values()) >= 3, "too little was broken to show anything"
    assert found["state_dir"] is None
    assert list(folder.iterdir()) == []
    assert _left_over(folder) == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """PostgreSQL runs under another account, which cannot reach what is in pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-", ignore_cleanup_errors=True) as at:
        Path(at).chmod(0o755)
        yield Path(at)


def _left_over(folder: Path) -> list[str]:
    """Processes that still have to do with the folder."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_seed_gives_the_same_faults_each_time(database: str) -> None:
    planned = schedule(7, seconds=120, database=database)
    assert planned == schedule(7, seconds=120, database=database)
    assert planned != schedule(8, seconds=120, database=database)
    assert {fault.kind for fault in planned} == {*ALWAYS, *BY_DATABASE[database]}
    assert {fault.worker for fault in planned if fault.kind is Kind.KILL} == {0, 1}
    for before, after in pairwise(planned):
        shortest = QUIET_AFTER_A_KILL if before.kind is Kind.KILL else SHORTEST_GAP
        assert shortest <= after.at - before.at <= LONGEST_GAP


def test_percentiles() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert Recoveries(seconds=(1.0, 9.0)).percentile(0.99) == 9.0
