"""The demo as a process that a fault test can look into and hurt."""

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

from orchestrator.embedded.upstate import UpState, read_up_state

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
RUN_SECONDS = 240.0


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A running demo."""

    process: subprocess.Popen[str]
    state_dir: Path
    up: UpState

    def pids(self) -> dict[str, int]:
        """Current process ids by child name; a restarted worker has a new one."""
        state = read_up_state(self.state_dir)
        return {} if state is None else dict(state.pids)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the demo's database beside its workers."""
        with sqlite3.connect(self.state_dir / "orchestrator.db", timeout=5) as connection:
            return connection.execute(sql).fetchall()

    def count(self, where: str) -> int:
        """Runs for which the condition holds."""
        return int(self.rows(f"SELECT count(*) FROM runs WHERE {where}")[0][0])

    def totals(self) -> dict[str, Any]:
        """Wait for the end and read the JSON object. Fails with the log when it ended badly."""
        out, err = self.process.communicate(timeout=RUN_SECONDS)
        assert self.process.returncode == 0, f"{out}\n{err}\n{self.worker_logs()}"
        totals: dict[str, Any] = json.loads(out)
        return totals

    def worker_logs(self) -> str:
        """The end of each worker's log."""
        logs = sorted((self.state_dir / "logs").glob("w*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4000:]}" for path in logs)


@contextmanager
def demo(state_dir: Path, *arguments: str, **env: str) -> Iterator[Demo]:
    """Start `orchestrator demo --json …`; ends it, and all it started, on leaving."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli.main", "demo", "--json", *arguments],
        env={**os.environ, "ORCHESTRATOR_STATE_DIR": str(state_dir),
             "ORCHESTRATOR_FLOWER_PORT": "0", **env},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        up = wait_for(lambda: read_up_state(state_dir), START_SECONDS, "the demo to be up", process)
        yield Demo(process=process, state_dir=state_dir, up=up)
    finally:
        _end(process)


def wait_for(
    look: Callable[[], Any], seconds: float, what: str, process: subprocess.Popen[str]
) -> Any:
    """Poll until `look()` is truthy; fails when the process ends or time runs out before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"ended with {process.returncode} before {what}\n{out}\n{err}")
        try:
            found = look()
        except sqlite3.OperationalError:  # not migrated yet
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=10)


ZEROS = ("lost", "orphaned_effects", "duplicate_effects", "out_of_order_compensations",
         "unexpected_endings")  # fmt: skip


def assert_zeros(totals: dict[str, Any], runs: int) -> None:
    """What the demo promises about every run."""
    assert {name: totals[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    endings = ("succeeded", "compensated", "escalated", "abandoned", "lost")
    assert sum(totals[name] for name in endings) == totals["runs"] == runs
