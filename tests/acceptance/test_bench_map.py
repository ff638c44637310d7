"""`orchestrator bench map` prints the figures that it promises, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = ("-c", "from orchestrator.cli.main import run; run()", "bench", "map")

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_each_item_is_done_once_and_undone(database: str) -> None:
    done = subprocess.run(
        [sys.executable, *COMMAND, "--items", "400", "--failing", "0.05", "--parallel", "50",
         "--database", database, "--workers", "2", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=230, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["items"], found["failed"], found["effects_left"]) == (400, 20, 0)
    assert found["kept"] is True
    assert found["items_per_second"] > 0
    assert found["ratio"] > 0
