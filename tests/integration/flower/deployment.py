"""A deployment in a folder of its own, used by the commands that people type."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.embedded.address import answers, free_port
from orchestrator.embedded.process import stop_all
from tests.encrypted import start_broker
from tests.forking import COLUMNS, run_command
from tests.integration.flower.watcher import Flower

PROJECT = Path(__file__).with_name("project")
ROOT = Path(__file__).parents[3]
CELERY = (sys.executable, "-m", "celery", "-A", "orchestrator")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A folder with tasks/ and config/, a broker and a database; nothing else runs yet."""

    folder: Path
    broker_url: str
    env: Mapping[str, str]
    stack: ExitStack
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *arguments: object, seconds: float = 60.0) -> Any:
        """Run `orchestrator … --json`; its answer. It must succeed."""
        command = (*arguments, "--json")
        done = run_command(command, cwd=self.folder, env=self.env, seconds=seconds)
        return json.loads(_said(done))

    def celery(self, *arguments: object, seconds: float = 60.0) -> str:
        """Run `celery -A orchestrator …`; what it printed. It must succeed."""
        done = subprocess.run(
            [str(part) for part in (*CELERY, *arguments)],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        return _said(done)

    def worker(self, name: str = "w1", **env: str) -> subprocess.Popen[bytes]:
        """Start `celery -A orchestrator worker`; ended with the deployment."""
        argv = (*CELERY, "worker", "-n", f"{name}@%h", "--loglevel=INFO")
        self.workers[name] = self._start(name, argv, env)
        return self.workers[name]

    def flower(self) -> Flower:
        """Start `celery -A orchestrator flower` and wait for its page."""
        port = free_port()
        process = self._start("flower", (*CELERY, "flower", f"--port={port}"), {})
        eventually(
            lambda: answers(port) or process.poll() is not None, what="Flower's page", seconds=60
        )
        assert process.poll() is None, self.log("flower")
        return Flower(f"http://127.0.0.1:{port}")

    def log(self, name: str) -> str:
        """The end of a process's output."""
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the database beside the workers."""
        with sqlite3.connect(self.folder / "state" / "orchestrator.db", timeout=10) as connection:
            return connection.execute(sql, values).fetchall()

    def settled(self, run_id: str, *, seconds: float = 30.0) -> str:
        """Wait until a run has settled; its status."""
        sql = "SELECT status FROM runs WHERE id = ? AND settled_at IS NOT NULL"
        rows = eventually(lambda: self.rows(sql, run_id), what=f"run {run_id}", seconds=seconds)
        return str(rows[0][0])

    def _start(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=self.folder, env={**self.env, **env}, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.stack.callback(end, process)
        return process


def _said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}: {done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def deployment(folder: Path, **env: str) -> Iterator[Deployment]:
    """A deployment with a broker of its own; ends everything that was started in it."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with ExitStack() as stack:
        broker = start_broker(folder / "state", log_path=folder / "valkey.log")
        stack.callback(stop_all, [broker])
        url = broker.spec.address
        own = {
            "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
            "ORCHESTRATOR_BROKER_URL": url,
            "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
            "COLUMNS": COLUMNS,
        }
        made = Deployment(
            folder=folder, broker_url=url, env={**os.environ, **own, **env}, stack=stack
        )
        made.ask("workflows", "publish", "tasks")
        yield made


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to all it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def eventually(look: Callable[[], Any], *, what: str, seconds: float = 20.0) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := look():
                return answer
        except sqlite3.OperationalError:  # not migrated yet, or busy
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
