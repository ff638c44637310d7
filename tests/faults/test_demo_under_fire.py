"""Workers are killed, the broker is emptied: the demo still ends with its zeros."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.integration.demo.running import ROOT, running_demo, wait_until
from tests.steady import HeldStill
from tests.sweeps import so_many, sweep

RECOVERED_WITHIN_SECONDS = 10

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.long
@pytest.mark.timeout(480)
def test_purge_of_all_queues(tmp_path: Path, held_still: HeldStill) -> None:
    """Hints are wake-ups: without any, the sweep publishes what is due."""
    # Few at a time, so that most runs still wait as messages when the queues are purged.
    with running_demo(tmp_path, "--runs", "1400", "--concurrency", "20") as demo:
        broker = demo.up()["broker_url"]
        wait_until(lambda: demo.settled() >= 20, "20 settled runs", seconds=60)
        subprocess.run(
            [sys.executable, "-m", "celery", "-A", "orchestrator", "purge", "-f"],
            cwd=ROOT, env={**os.environ, "ORCHESTRATOR_BROKER_URL": broker},
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        pending = "SELECT count(*) FROM runs WHERE status = 'pending'"
        waiting = demo.count(pending)
        held_still(waiting > 100, "too little was left to purge")
        took = wait_until(
            lambda: demo.count(pending) < waiting - 50, "purged runs under way", seconds=60
        )
        assert demo.result(seconds=300)["runs"] == 1400  # a busy machine has less than ten a second
    held_still(took <= RECOVERED_WITHIN_SECONDS, f"purged runs under way after {took} s")


@sweep
def test_two_kills_and_an_emptied_broker_in_the_middle(
    tmp_path: Path, held_still: HeldStill
) -> None:
    """Each worker once, one after the other, and everything that Redis knows.

    The runs of a killed worker are taken over in time; nothing is lost, doubled or out of order.
    """
    runs, killed = so_many(300, whole=600), []
    # Few at a time, so that there are messages to lose.
    with running_demo(tmp_path, "--runs", str(runs), "--concurrency", "100") as demo:
        up = demo.up()
        for name, share in (("w1", 0.3), ("w2", 0.5)):
            wait_until(lambda share=share: demo.settled() >= runs * share, "its time", seconds=90)
            pid = up["pids"][name]
            wait_until(lambda pid=pid: demo.count(OWNED, pid) > 0, "runs in its hands", seconds=60)
            os.killpg(pid, signal.SIGKILL)
            killed.append(time.time())
        before = demo.settled()
        with redis.Redis.from_url(up["broker_url"]) as broker:
            broker.flushall()
        held_still(before < runs, "all was over before the broker was emptied")
        took = wait_until(lambda: demo.settled() > before, "a run settled after that", seconds=60)
        found = demo.result()
    assert found["runs"] == runs
    assert demo.count(TAKEN_OVER, *_micros(min(killed), 600)) > 0, "nothing was taken over"
    held_still(took <= RECOVERED_WITHIN_SECONDS, f"a run settled {took} s after that")
    in_time = [demo.count(TAKEN_OVER, *_micros(at, RECOVERED_WITHIN_SECONDS)) for at in killed]
    held_still(all(in_time), f"runs taken over in time after each kill: {in_time}")
    late = demo.count(TAKEN_OVER, *_micros(max(killed) + RECOVERED_WITHIN_SECONDS, 600))
    held_still(late == 0, f"{late} runs taken over late")


OWNED = "SELECT count(*) FROM runs r JOIN workers w ON r.owner = w.id WHERE w.pid = ?"
TAKEN_OVER = "SELECT count(*) FROM audit WHERE kind = 'run.recovered' AND at BETWEEN ? AND ?"


def _micros(after: float, seconds: float) -> tuple[int, int]:
    """From a time (UNIX seconds) until so much later, as the database has times."""
    return int(after * 1e6), int((after + seconds) * 1e6)
