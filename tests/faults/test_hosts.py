"""Workers on hosts of their own (network namespaces): cut off, lost for good, upgraded; judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.hosts.network import INSIDE, Host, lacking
from tests.faults.hosts.playing import CUT_SECONDS
from tests.faults.hosts.site import Crew

MODULE = "tests.faults.hosts"


def test_a_worker_begins_on_its_host_with_the_code_of_its_release(tmp_path: Path) -> None:
    host = Host(name="worker1", address="198.51.100.10")
    shown = [sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"]
    crew = Crew(env={}, logs=tmp_path, argv=lambda _host, _argv: tuple(shown))
    child = crew.start(host, code=tmp_path / "next")
    child.stop(by=float("inf"))
    (log,) = tmp_path.glob("worker1-1.log")
    assert log.read_text().split(":")[0] == str(tmp_path / "next")
    assert host.within[0] == "nsenter"


def test_who_may_not_make_hosts_is_told_why() -> None:
    asked = (sys.executable, "-m", MODULE, "--runs", "100")
    bare = {**os.environ, "PATH": "/nowhere"}
    bare.pop(INSIDE, None)
    done = subprocess.run(
        asked, env=bare, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 2
    assert "no hosts can be made here: " in done.stderr


@pytest.mark.long
@pytest.mark.broker
@pytest.mark.timeout(900)
def test_every_zero_is_a_zero_whatever_befalls_hosts(tmp_path: Path) -> None:
    if why := lacking():
        pytest.skip(why)
    options = ("--runs", "600", "--seconds", "60", "--speed-runs", "200", "--speed-rests", "60")
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *options, "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=880,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout)
    zeros = ("lost", "orphaned_effects", "duplicate_effects", "out_of_order_compensations")
    assert [found[name] for name in zeros] == [0, 0, 0, 0]
    assert (found["runs"], found["upgraded"]) == (600, 2)
    assert 0 < found["held_for_dead_after_seconds"] < CUT_SECONDS
    assert [each["workers"] for each in found["speeds"]] == [1, 2, 4] * 2
