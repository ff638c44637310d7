"""The clock that other tests set: it jumps at once, and nothing else does that goes by time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.clocks import Clock, compiler

HOUR = 3600
PROGRAM = """
import datetime, json, sys, time
for _ in sys.stdin:
    began = time.monotonic()
    time.sleep(0.01)
    told = {"slept": time.monotonic() - began, "monotonic": time.monotonic(), "wall": time.time(),
            "date": datetime.datetime.now(datetime.UTC).timestamp()}
    print(json.dumps(told), flush=True)
"""


@pytest.mark.skipif(compiler() is None, reason="there is no compiler of C")
def test_the_wall_clock_alone_jumps(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env={**clock.env}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, HOUR, -HOUR, 0):
            clock.jump(seconds)
            process.stdin.write("tell\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            assert told["slept"] >= 0.01
            assert abs(told["monotonic"] - time.monotonic()) < HOUR / 60
            for kind in ("wall", "date"):
                assert abs(told[kind] - time.time() - seconds) < HOUR / 60
        process.stdin.close()
