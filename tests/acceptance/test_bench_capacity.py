"""`orchestrator bench capacity` writes costs for `orchestrator capacity`; how good is open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core.capacity import Resource
from orchestrator.service.sizing import read_costs

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.broker, pytest.mark.timeout(600)]


def test_its_costs_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.capacity", "--rounds", "1", "--share", "0.05",
         "--out", str(file), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=590, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    off = [abs(each["predicted"] / each["measured"] - 1) for each in found["held_back"]]
    assert len(off) == 2 * len(Resource) - 2, "without calls, Redis has hardly anything to do"
    assert done.returncode == (1 if max(off) > 0.2 else 0), done.stderr
    costs, where = read_costs(file)
    assert where.startswith(found["measured"]["on"])
    cpu, stays = costs.of[Resource.WORKER_CPU], costs.of[Resource.DATABASE_BYTES]
    assert cpu.run + cpu.step > 0
    assert cpu.call > 0
    assert 1_000 < stays.run + 5 * stays.step < 100_000, "bytes of a run of five steps"
