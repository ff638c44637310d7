"""Other runners of Arazzo documents: where each is installed, and how it is called.

Each is installed into a folder of its own below the state directory, so that no two share a
library. What a runner says about itself is not asked for: the shop counts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Unavailable
from tests.bench.orphans.documents import DOCUMENT, INPUT_FILE, INPUTS, WORKFLOW

_INSTALL_SECONDS, _RUN_SECONDS = 300, 120
_QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One of them, at one version."""

    package: str
    version: str
    registry: str  # "PyPI" or "npm"
    program: str
    arguments: Sequence[str]

    def folder(self, state_dir: Path) -> Path:
        """Where this version of it is, or would be."""
        return state_dir / "orphans" / f"{self.package.replace('/', '-')}-{self.version}"

    def missing(self, state_dir: Path) -> str:
        """What is to be done before it can run, or nothing."""
        return "" if self._path(state_dir).exists() else "not installed: make orphans"

    def install(self, state_dir: Path) -> None:
        """Nothing when it is there. Raises Unavailable; what was installed in part is removed."""
        if not self.missing(state_dir):
            return
        folder = self.folder(state_dir)
        try:
            for command in self._install_commands(folder):
                _must_succeed(command, f"{self.package} {self.version}")
            if why := self.missing(state_dir):
                raise Unavailable(self.registry, self.package, why)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def run(self, state_dir: Path, documents: Path) -> int:
        """Once, in the folder of the documents; its exit code. Raises Unavailable."""
        command = [str(self._path(state_dir).absolute()), *self.arguments]
        return _call(command, cwd=documents, seconds=_RUN_SECONDS).returncode

    def _path(self, state_dir: Path) -> Path:
        beside = "bin" if self.registry == "PyPI" else "node_modules/.bin"
        return self.folder(state_dir) / beside / self.program

    def _install_commands(self, folder: Path) -> list[list[str]]:
        if self.registry == "PyPI":
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            return [
                [sys.executable, "-m", "venv", str(folder)],
                [*pip, f"{self.package}=={self.version}"],
            ]
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        return [["npm", "install", *options, f"{self.package}@{self.version}"]]


def _must_succeed(command: Sequence[str], what: str) -> None:
    done = _call(command, seconds=_INSTALL_SECONDS)
    if done.returncode:
        raise Unavailable(command[0], what, done.stderr[-500:])


def _call(
    command: Sequence[str], *, seconds: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=cwd, env={**os.environ, **_QUIET}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(command[0], " ".join(command[1:3]), str(error)) from error


def _each_input(option: str) -> list[str]:
    return [word for name, value in INPUTS.items() for word in (option, f"{name}={value}")]


RUNNERS = (
    Runner(
        package="arazzo-runner", version="0.9.6", registry="PyPI", program="arazzo-runner",
        arguments=(
            "execute-workflow", DOCUMENT, "--workflow-id", WORKFLOW, "--inputs", json.dumps(INPUTS),
        ),
    ),
    Runner(
        package="@redocly/cli", version="2.77.0", registry="npm", program="redocly",
        arguments=("respect", DOCUMENT, "--workflow", WORKFLOW, *_each_input("--input")),
    ),
    Runner(
        package="arazzo-exec", version="0.1.0", registry="PyPI", program="arazzo-exec",
        arguments=("run", DOCUMENT, "--workflow", WORKFLOW, "--input", INPUT_FILE),
    ),
)  # fmt: skip
