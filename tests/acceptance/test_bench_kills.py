"""`orchestrator bench kills` plays each engine that is installed to its end, killed once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.kills.__main__ import ENGINES
from tests.bench.kills.engine import Engine
from tests.bench.peers.installed import restate_server

ROOT = Path(__file__).parents[2]
COMMAND = "from orchestrator.cli.main import run; run()"
RUNS = 30

pytestmark = [
    pytest.mark.long, pytest.mark.broker, pytest.mark.postgres, pytest.mark.timeout(330),
]  # fmt: skip


def skip_when_absent(engine: Engine) -> None:
    """An extra is no part of the set-up: its absence never fails, and tests download nothing."""
    if engine.missing():
        pytest.skip(engine.missing())
    if engine.system == "restate" and restate_server() is None:
        pytest.skip("Restate's server has not been installed yet: orchestrator bench kills does it")


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.system)
def test_a_worker_is_killed_and_all_ends(engine: Engine) -> None:
    skip_when_absent(engine)
    options = ("--runs", RUNS, "--kills", 1, "--engine", engine.system, "--json")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "kills", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=320, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["engines"]
    assert sum(found["endings"].values()) == found["runs"] == RUNS
    assert found["endings"]["undone"] > 0 < found["endings"]["succeeded"]
    assert "never ended" not in found["endings"]
    assert found["missing"] == len(found["wrong"]) == 0
    assert found["recovery_seconds"]["worker"]["kills"] == 1
    assert found["restarts"] >= 1
