"""The command as people use it: a process in a deployment's folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.forking import COLUMNS, run_command

PROJECT = Path(__file__).with_name("project")
COMMAND = str(Path(sys.executable).with_name("orchestrator"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A folder with tasks/ and config/, and the environment of its commands."""

    folder: Path
    env: dict[str, str]

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def run(self, *arguments: object, seconds: float = 60.0) -> Said:
        """Run `orchestrator …` to its end."""
        done = run_command(arguments, cwd=self.folder, env=self.env, seconds=seconds)
        assert "Traceback" not in done.stderr, done.stderr
        return Said(code=done.returncode, out=done.stdout, err=done.stderr)

    def ask(self, *arguments: object, seconds: float = 60.0) -> Any:
        """Run it with --json; the answer as data. It must succeed."""
        said = self.run(*arguments, "--json", seconds=seconds)
        assert said.code == 0, f"{arguments}: {said}"
        return said.data

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command that goes on; the caller ends it."""
        return subprocess.Popen(
            [COMMAND, *(str(argument) for argument in arguments)],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 90.0) -> None:
    """Look until it holds; fails after `seconds`, naming `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
    """Signal it and wait for its end; what it still printed."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment of its own, nothing started. Any free port serves for Flower."""
    return make_deployment(tmp_path / "deployment")


def make_deployment(folder: Path) -> Deployment:
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notes").mkdir()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")
    }
    env |= {"ORCHESTRATOR_FLOWER_PORT": "0", "COLUMNS": COLUMNS}
    return Deployment(folder=folder, env=env)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that is up, with the notes workflow published."""
    with up(tmp_path_factory.mktemp("running")) as deployment:
        yield deployment


@contextmanager
def up(folder: Path) -> Iterator[Deployment]:
    """A deployment in a folder, its broker and one worker, with its workflows published."""
    deployment = make_deployment(folder / "deployment")
    process = deployment.start("up", "--workers", "1", "--no-flower", "--json")
    try:
        assert process.stdout is not None
        _first_object(process)
        deployment.ask("workflows", "publish", "config/workflows")
        yield deployment
    finally:
        end(process)


def _first_object(process: subprocess.Popen[str]) -> Any:
    """The first JSON value that a process prints; fails with its errors when it ends instead."""
    assert process.stdout is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    lines = ""
    for line in process.stdout:
        lines += line
        if line.rstrip() == "}":
            timer.cancel()
            return json.loads(lines)
    timer.cancel()
    raise AssertionError(f"ended early: {lines}\n{process.stderr.read() if process.stderr else ''}")


@pytest.fixture
def first_object() -> Callable[[subprocess.Popen[str]], Any]:
    """Reads the first JSON value that a started command prints."""
    return _first_object
