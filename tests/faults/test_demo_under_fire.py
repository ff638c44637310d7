"""Workers are killed, the broker is emptied: the demo still ends with its zeros."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.integration.demo.running import ROOT, running_demo, wait_until

RECOVERED_WITHIN_SECONDS = 10

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


def test_kill_9_of_a_worker(tmp_path: Path) -> None:
    """Its runs go on elsewhere; nothing is lost, doubled or out of order."""
    with running_demo(tmp_path, "--runs", "400", "--concurrency", "200") as demo:
        pid = demo.up()["pids"]["w1"]
        wait_until(lambda: demo.settled() >= 30, "30 settled runs", seconds=60)
        owned = "SELECT count(*) FROM runs r JOIN workers w ON r.owner = w.id WHERE w.pid = ?"
        wait_until(lambda: demo.count(owned, pid) > 0, "runs in its hands", seconds=10)
        os.killpg(pid, signal.SIGKILL)
        wait_until(
            lambda: demo.count(owned, pid) == 0, "its runs taken over",
            seconds=RECOVERED_WITHIN_SECONDS,
        )  # fmt: skip
        assert demo.result()["runs"] == 400


def test_purge_of_all_queues(tmp_path: Path) -> None:
    """Hints are wake-ups: without any, the sweep publishes what is due."""
    # Few at a time, so that most runs still wait as messages when the queues are purged.
    with running_demo(tmp_path, "--runs", "800", "--concurrency", "20") as demo:
        broker = demo.up()["broker_url"]
        wait_until(lambda: demo.settled() >= 20, "20 settled runs", seconds=60)
        subprocess.run(
            [sys.executable, "-m", "celery", "-A", "orchestrator", "purge", "-f"],
            cwd=ROOT, env={**os.environ, "ORCHESTRATOR_BROKER_URL": broker},
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        pending = "SELECT count(*) FROM runs WHERE status = 'pending'"
        waiting = demo.count(pending)
        assert waiting > 100, "too little was left to purge"
        wait_until(
            lambda: demo.count(pending) < waiting - 50, "purged runs under way",
            seconds=RECOVERED_WITHIN_SECONDS,
        )  # fmt: skip
        assert demo.result()["runs"] == 800


def test_two_kills_and_an_emptied_broker_in_the_middle(tmp_path: Path) -> None:
    """Each worker once, one after the other, and everything that Redis knows."""
    runs = 600
    # Few at a time, so that there are messages to lose.
    with running_demo(tmp_path, "--runs", str(runs), "--concurrency", "100") as demo:
        up = demo.up()
        for name, share in (("w1", 0.3), ("w2", 0.5)):
            wait_until(lambda share=share: demo.settled() >= runs * share, "its time", seconds=90)
            os.killpg(up["pids"][name], signal.SIGKILL)
        before = demo.settled()
        with redis.Redis.from_url(up["broker_url"]) as broker:
            broker.flushall()
        assert before < runs, "all was over before the broker was emptied"
        wait_until(
            lambda: demo.settled() > before, "a run settled after that",
            seconds=RECOVERED_WITHIN_SECONDS,
        )  # fmt: skip
        found = demo.result()
    assert found["runs"] == runs
