"""One child process: its own session, its log file, a ready check with an end, a clean stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import Unavailable

_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
_LOG_TAIL_LINES = 8


def always_ready() -> bool:
    """For children whose start needs no waiting."""
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildSpec:
    """How to start one child and how to end it."""

    name: str
    """Names the log file and the child in messages; unique within a supervisor."""
    argv: tuple[str, ...]
    address: str = ""
    """Where it listens, for people and for the state file; empty if nowhere."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    ready: Callable[[], bool] = always_ready
    """Asked every 20 ms after the start; must not block for long."""
    ready_seconds: float = 60.0
    grace_seconds: float = 15.0
    """How long it may take to end after SIGTERM before it is killed."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when its parent dies without ending it (Linux)."""
    restart: bool = False
    """Whether the supervisor starts it again when it ends by itself."""


class Child:
    """A started (or ended) process of a ChildSpec. Start it from a thread that lives as long."""

    def __init__(self, spec: ChildSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, also after it has ended; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process exists and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; its output is appended to the log file."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.started_at = time.monotonic()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                _leashed(self.spec),
                env={**os.environ, **self.spec.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C reaches only the supervisor
            )

    def wait_ready(self) -> None:
        """Block until ready.

        Raises Unavailable with the end of its log if it ends or takes longer than
        `ready_seconds`.
        """
        deadline = time.monotonic() + self.spec.ready_seconds
        while not self.spec.ready():
            if not self.running:
                raise self._failure(f"ended with exit code {self.exit_code}")
            if time.monotonic() > deadline:
                raise self._failure(f"not ready after {self.spec.ready_seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole session, so that helpers of the child go with it."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def stop(self, *, by: float) -> None:
        """Wait until it has ended; kill it at `by` (monotonic seconds). SIGTERM is sent before."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=max(0.0, by - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait(timeout=10)

    def log_tail(self) -> str:
        """The last lines of its log."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _failure(self, why: str) -> Unavailable:
        return Unavailable(
            self.spec.name,
            self.spec.address or "this machine",
            f"{why}; log {self.log_path}\n{self.log_tail()}",
        )


def stop_all(children: Sequence[Child]) -> None:
    """SIGTERM to all at once, then wait for each within its grace, then kill what is left."""
    now = time.monotonic()
    for child in children:
        if child.running:
            child.signal(signal.SIGTERM)
    for child in children:
        child.stop(by=now + child.spec.grace_seconds)


def _leashed(spec: ChildSpec) -> list[str]:
    leash = [sys.executable, "-I", "-S", str(_LEASH)]
    return [*leash, str(int(spec.orphan_signal)), str(os.getpid()), *spec.argv]
