"""Throughput with faults beside that without: what is planned, and one short play of it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.chaos.pace import FAULT_EVERY_SECONDS, KINDS, Measured, endless, planned
from tests.faults.chaos.schedule import BY_DATABASE, Kind


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_fault_begins_every_five_seconds_and_each_kind_has_its_turn(database: str) -> None:
    kinds = (*KINDS, *BY_DATABASE[database])
    faults = list(planned(endless(random.Random(1), database), seed=1, seconds=40.0))
    assert [each.at for each in faults] == [n * FAULT_EVERY_SECONDS for n in range(8)]
    in_turn = list(islice(endless(random.Random(1), database), len(kinds)))
    assert sorted(in_turn) == sorted(kinds)
    assert [each.kind for each in faults[: len(kinds)]] == in_turn[:8]
    assert {each.worker for each in faults} == {0, 1}


def test_the_api_is_well_all_the_time() -> None:
    assert not {Kind.AWAY, Kind.BUSY, Kind.LOWERED} & {*KINDS, *BY_DATABASE["postgres"]}


def test_all_windows_weigh_alike() -> None:
    measured = Measured(quiet=[100.0, 300.0], disturbed=[100.0, 200.0])
    assert measured.ratio == 0.75


@pytest.mark.long
@pytest.mark.broker
@pytest.mark.timeout(400)
def test_it_is_measured_and_judged(tmp_path: Path) -> None:
    command = "from orchestrator.cli.main import run; run()"
    options = ("--seconds", "20", "--pairs", "1", "--json")
    done = subprocess.run(
        [sys.executable, "-c", command, "bench", "pace", *options],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert sum(found["faults"].values()) >= 3
    assert min(found["quiet_runs_per_second"]) > 0
    assert (found["lost"], found["duplicate_effects"], found["orphaned_effects"]) == (0, 0, 0)
    assert done.returncode == int(found["ratio"] <= 0.5), done.stderr[-5000:]
