"""`orchestrator bench peers` measures each engine that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.peers.__main__ import PEERS
from tests.bench.peers.installed import restate_server
from tests.bench.peers.peer import Peer

ROOT = Path(__file__).parents[2]
COMMAND = "from orchestrator.cli.main import run; run()"
FIGURES = {
    "runs_per_second", "steps_per_second", "p50_ms", "p99_ms", "cpu_seconds_per_1000_steps",
    "peak_memory_mib",
}  # fmt: skip

pytestmark = [
    pytest.mark.broker, pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(180),
]  # fmt: skip


def skip_when_absent(peer: Peer) -> None:
    """An extra is no part of the set-up: its absence never fails, and tests download nothing."""
    if peer.missing():
        pytest.skip(peer.missing())
    if peer.system == "restate" and restate_server() is None:
        pytest.skip("Restate's server has not been installed yet: orchestrator bench peers does it")


def bench(*options: object) -> dict[str, Any]:
    """One call that must succeed; exactly one JSON object is on its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "peers", "--json", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("load", ["noop", "fail"])
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.system)
def test_the_same_work_beside_a_peer(peer: Peer, load: str) -> None:
    skip_when_absent(peer)
    options = ("--runs", 20, "--pairs", 1, "--workers", 1)
    found = bench("--peer", peer.system, "--load", load, *options)
    assert found["load"] == load
    assert found["ours"].keys() >= FIGURES
    (theirs,) = found["peers"]
    assert theirs["system"] == peer.system
    assert theirs["available"]
    assert "error" not in theirs
    assert theirs.keys() >= FIGURES
    assert all(theirs[name] > 0 for name in FIGURES)
    assert theirs["ratio"] == theirs["ratios"][0]
    assert theirs["variant"] in {one["variant"] for one in theirs["tried"]}
    assert theirs["version"]
    assert theirs["durability"]
    assert found["settings"]["database"]["fsync"] == "on"
