"""`orchestrator bench gate` prints the figures that it promises; how good they are is open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.steady import HeldStill

ROOT = Path(__file__).parents[2]
COMMAND = "from orchestrator.cli.main import run; run()"

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.mark.long
def test_a_short_steady_phase_on_the_default_database(held_still: HeldStill) -> None:
    options = ("--phase", "steady,cost", "--seconds", 6, "--workers", 2, "--runs", 1500)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "gate", "--json", "--db", "sqlite",
         *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (steady,) = found["phases"]["steady"]
    assert found["violations"] == found["failed_runs"] == 0
    used, share = found["utilization"], steady["api_cpu_share"]
    assert used == steady["utilization"] > 0
    assert share > 0
    assert 0 < found["redis_round_trips_per_call"] <= 2
    assert found["gate_over_limits"] > 0
    assert found["jain"] is None
    held_still(used > 0.5, f"{used} of the rate")  # 0.99 where nothing else runs
    held_still(share < 0.5, f"the API was busy for {share} of the time")
