"""A worker is killed, the broker's queues are purged: the demo still ends with its zeros."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.demo_process import ROOT, Demo, assert_zeros, demo, wait_for

RUNS = 400
UNDER_WAY = "status IN ('running', 'compensating', 'waiting') AND owner IS NOT NULL"
UNSETTLED = "settled_at IS NULL"

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow, pytest.mark.broker]


def in_the_middle(running: Demo) -> None:
    """Wait until a good part has settled and a good part is under way."""
    wait_for(
        lambda: running.count("settled_at IS NOT NULL") > RUNS // 8 and running.count(UNDER_WAY) > 20,
        90, "the middle of the demo", running.process,
    )  # fmt: skip


def test_kill_9_of_a_worker(tmp_path: Path) -> None:
    """Its runs go on elsewhere within 10 s; nothing is lost, doubled or out of order."""
    with demo(tmp_path, "--runs", str(RUNS), "--concurrency", "200") as running:
        in_the_middle(running)
        victim = running.pids()["w1"]
        owners = running.rows(f"SELECT id FROM workers WHERE pid = {victim}")
        assert len(owners) == 1
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        orphans = f"owner = '{owners[0][0]}' AND {UNSETTLED}"
        held = running.count(orphans)
        wait_for(lambda: running.count(orphans) == 0, 30, "its runs to be taken over", running.process)
        seconds = time.monotonic() - killed_at
        assert seconds < 10, f"{held} runs went on only after {seconds:.1f} s"
        assert_zeros(running.totals(), RUNS)


def test_purge_of_all_queues(tmp_path: Path) -> None:
    """Hints are wake-ups: without any, the sweep publishes what is due within 10 s."""
    # Few at a time, so that most runs still wait as messages when the queues are purged.
    with demo(tmp_path, "--runs", str(RUNS), "--concurrency", "20") as running:
        wait_for(
            lambda: running.count("settled_at IS NOT NULL") > RUNS // 8, 90,
            "the middle of the demo", running.process,
        )  # fmt: skip
        waiting = running.count("status = 'pending'")
        assert waiting > 50, "nothing was left to purge"
        purge(running)
        purged_at = time.monotonic()
        wait_for(
            lambda: running.count("status = 'pending'") < waiting - 40, 30,
            "purged runs to start", running.process,
        )  # fmt: skip
        assert time.monotonic() - purged_at < 10
        assert_zeros(running.totals(), RUNS)


def purge(running: Demo) -> None:
    """`celery -A orchestrator purge`, as an operator would type it."""
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "orchestrator", "purge", "-f"],
        cwd=ROOT, check=True, timeout=60, capture_output=True,
        env={**os.environ, "ORCHESTRATOR_BROKER_URL": running.up.broker_url,
             "ORCHESTRATOR_STATE_DIR": str(running.state_dir)},
    )  # fmt: skip
