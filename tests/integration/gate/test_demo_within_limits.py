"""The whole product against a real server, seen from between them: no limit is exceeded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.gate.processes import (
    ROOT,
    Event,
    most_in_a_window,
    most_in_flight,
    rate,
    read_events,
)

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        find_spec("kinto") is None or find_spec("granian") is None,
        reason="the demo extra is not installed",
    ),
]
RATE, SLOTS = 200, 20
API = f"""\
api: kinto
allow_private_addresses: true
rate: {RATE}/second
concurrency: {SLOTS}
auth: {{basic: {{user: checkout, password: 'env:KINTO_PASSWORD'}}}}
"""
ZEROS = ("lost", "orphaned_effects", "duplicate_effects", "out_of_order_compensations")


@contextmanager
def limited_demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A demo whose workers reach their server through a recording proxy."""
    for name in ("config", "tasks"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "config" / "apis" / "kinto.yaml").write_text(API)
    script = Path(__file__).parent / "limited_demo.py"
    process = subprocess.Popen(
        [
            sys.executable, str(script), str(folder / "record"),
            "--config-dir", str(folder / "config"), "--state-dir", str(folder / "state"),
            "demo", "--json", *options,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def finished(process: subprocess.Popen[str], folder: Path) -> list[Event]:
    """What the proxy saw of a demo that ended well."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, f"{out}\n{err[-4000:]}"
    found = json.loads(out)
    assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    return read_events(folder / "record")


def test_two_workers_keep_rate_and_slots(tmp_path: Path) -> None:
    with limited_demo(tmp_path, "--runs", "300") as process:
        events = finished(process, tmp_path)
    assert most_in_a_window(events, 1.0) <= RATE
    assert most_in_flight(events) <= SLOTS
    assert rate(events) > RATE / 4


def test_a_killed_worker_breaks_no_limit_and_its_slots_come_back(tmp_path: Path) -> None:
    with limited_demo(tmp_path, "--runs", "300") as process:
        up = tmp_path / "state" / "up.json"
        deadline = time.monotonic() + 60
        while not up.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(4)
        os.kill(json.loads(up.read_text())["pids"]["w1"], signal.SIGKILL)
        killed_at = time.monotonic()
        events = finished(process, tmp_path)
    assert most_in_a_window(events, 1.0) <= RATE
    assert most_in_flight(events) <= SLOTS
    assert any(event.at > killed_at + 6 for event in events)
