"""The main job on real input; harmed on purpose in tests/faults/test_demo_under_fire.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.demo.running import running_demo, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


def test_two_hundred_runs(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "200", "--concurrency", "100") as demo:
        found = demo.result()
    assert found["runs"] == 200
    assert found["succeeded"] == 170
    # Of the six that needed a person, five stay open for the reader; one was acted upon.
    assert found["escalated"] == 5
    assert found["compensated"] + found["abandoned"] == 25
    assert found["peak_concurrent_runs"] >= 50  # parked ones come on top of the hundred in hand
    assert found["runs_per_second"] > 0


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--runs", "500") as demo:
        pids = demo.up()["pids"].values()
        wait_until(lambda: demo.settled() >= 1, "a settled run", seconds=60)
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(timeout=60)
        assert demo.process.returncode == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
