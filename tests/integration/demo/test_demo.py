"""The main job on real input, also while its workers and its broker are being harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.demo.running import ROOT, running_demo, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


def test_two_hundred_runs(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "200", "--concurrency", "100") as demo:
        found = demo.result()
    assert found["runs"] == 200
    assert found["succeeded"] == 170
    # Of the six that needed a person, five stay open for the reader; one was acted upon.
    assert found["escalated"] == 5
    assert found["compensated"] + found["abandoned"] == 25
    assert 50 <= found["peak_concurrent_runs"] <= 104
    assert found["runs_per_second"] > 0


def test_every_step_a_message_of_its_own(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "100", "--max-inline-steps", "0") as demo:
        assert demo.result()["runs"] == 100


def test_a_killed_worker_costs_time_only(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "600", "--concurrency", "300") as demo:
        pid = demo.up()["pids"]["w1"]
        wait_until(lambda: demo.settled() >= 30, "30 settled runs", seconds=60)
        owned = "SELECT count(*) FROM runs r JOIN workers w ON r.owner = w.id WHERE w.pid = ?"
        wait_until(lambda: demo.count(owned, pid) > 0, "runs in its hands", seconds=10)
        os.killpg(pid, signal.SIGKILL)
        took = wait_until(lambda: demo.count(owned, pid) == 0, "its runs taken over", seconds=10)
        assert took < 10
        assert demo.result()["runs"] == 600


def test_a_purged_broker_costs_time_only(tmp_path: Path) -> None:
    options = ("--runs", "300", "--max-inline-steps", "0")
    with running_demo(tmp_path, *options) as demo:
        broker = demo.up()["broker_url"]
        wait_until(lambda: demo.settled() >= 20, "20 settled runs", seconds=60)
        subprocess.run(
            [sys.executable, "-m", "celery", "-A", "orchestrator", "purge", "-f"],
            cwd=ROOT,
            env={**os.environ, "ORCHESTRATOR_BROKER_URL": broker},
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert demo.result()["runs"] == 300


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "2000") as demo:
        pids = demo.up()["pids"].values()
        wait_until(lambda: demo.settled() >= 1, "a settled run", seconds=60)
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(timeout=60)
        assert demo.process.returncode == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
