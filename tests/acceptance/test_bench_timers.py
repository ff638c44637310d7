"""`orchestrator bench timers` prints the figures that it promises; how good they are is open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = ("-c", "from orchestrator.cli.main import run; run()", "bench", "timers")

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_each_sleeper_wakes_once(database: str) -> None:
    done = subprocess.run(
        [sys.executable, *COMMAND, "--timers", "200", "--spread", "2", "--database", database,
         "--workers", "1", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["timers"] == 200
    assert (found["duplicates"], found["early"], found["lost"]) == (0, 0, 0)
    assert 0 <= found["late_p50_seconds"] <= found["late_p99_seconds"] <= found["late_max_seconds"]
