"""A demo as its own process, watched from outside through its state folder."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
_COMMAND = [sys.executable, "-c", "from orchestrator.cli.main import run; run()"]
ZEROS = (
    "lost",
    "orphaned_effects",
    "duplicate_effects",
    "out_of_order_compensations",
    "unexpected_endings",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningDemo:
    """A demo that has been started with `--json`."""

    process: subprocess.Popen[str]
    state_dir: Path

    def up(self) -> dict[str, Any]:
        """Addresses and process ids, once everything is up."""
        wait_until((self.state_dir / "up.json").exists, "up.json", seconds=60)
        found: dict[str, Any] = json.loads((self.state_dir / "up.json").read_text())
        return found

    def count(self, sql: str, *values: object) -> int:
        """A number from the demo's database; 0 while it has no tables."""
        database = self.state_dir / "orchestrator.db"
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as link:
                number: int = link.execute(sql, values).fetchone()[0]
        except sqlite3.OperationalError:
            return 0
        return number

    def settled(self) -> int:
        """How many runs have settled."""
        return self.count("SELECT count(*) FROM runs WHERE settled_at IS NOT NULL")

    def result(self, *, seconds: float = 120) -> dict[str, Any]:
        """Wait for the end; the printed object. Fails with its output unless all zeros are zero."""
        out, err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, f"{out}\n{err[-4000:]}"
        found: dict[str, Any] = json.loads(out)
        assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
        return found


@contextmanager
def running_demo(state_dir: Path, *options: str) -> Iterator[RunningDemo]:
    """Start it; on leaving, whatever it has left is ended."""
    process = subprocess.Popen(
        [*_COMMAND, "--state-dir", str(state_dir), "demo", "--json", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield RunningDemo(process=process, state_dir=state_dir)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float) -> float:
    """Seconds that it took. Fails when it takes longer."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - began
