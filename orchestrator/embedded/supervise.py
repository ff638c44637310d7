"""Start broker, workers and Flower as children, keep the workers running, end all of it cleanly.

The order is broker, workers, Flower; the end is the reverse, each with a grace period before it
is killed. A worker that ends by itself starts again after 0.5 s, doubled up to 30 s while it
keeps ending young. If the supervisor itself is killed, the kernel ends its children (leash.py).
Everything here is synchronous and belongs in one thread; `watch()` returns at once, so an event
loop may call it every few hundred milliseconds instead of `run()`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import structlog

from orchestrator.embedded.address import LOOPBACK
from orchestrator.embedded.flower import flower_spec
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.embedded.upstate import UpLock, UpState, remove_up_state, write_up_state
from orchestrator.embedded.valkey import start_valkey
from orchestrator.embedded.workers import worker_specs

log = structlog.get_logger(__name__)

_WATCH_SECONDS = 0.2
_BACKOFF_FIRST_SECONDS = 0.5
_BACKOFF_CAP_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class UpOptions:
    """What to start. Without `broker_url` an embedded Valkey is started."""

    state_dir: Path
    workers: int = 2
    broker_url: str = ""
    broker_port: int | None = None
    database_url: str = ""
    flower: bool = True
    flower_host: str = LOOPBACK
    flower_port: int | None = None
    flower_basic_auth: str = field(default="", repr=False)
    worker_log_level: str = "INFO"
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the workers beside ORCHESTRATOR_BROKER_URL, for example other settings."""


class Supervisor:
    """The children of one `up`. Use as a context manager: leaving it ends everything."""

    def __init__(self, options: UpOptions) -> None:
        self.options = options
        self.broker_url = options.broker_url
        self.flower_url = ""
        self._lock = UpLock(options.state_dir)
        self._broker: Child | None = None
        self._workers: list[_Restarted] = []
        self._flower: _Restarted | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def workers(self) -> tuple[Child, ...]:
        """The worker processes, in order of their names."""
        return tuple(kept.child for kept in self._workers)

    def start(self) -> None:
        """Start everything, or raise (Conflict, InvalidSetting, Unavailable) with nothing left.

        Ready means: the broker answers, Flower listens. Workers announce themselves later.
        """
        self._lock.acquire()
        try:
            self.start_broker()
            self.start_flower()
            self.start_workers()
            self._save()
            if self._flower:
                self._flower.child.wait_ready()
        except BaseException:
            self.stop()
            raise

    def start_broker(self) -> None:
        """Start the embedded server unless a broker address was given."""
        if self.broker_url:
            return
        self._broker = start_valkey(
            self.options.state_dir, log_path=self._log_path("valkey"), port=self.options.broker_port
        )
        self.broker_url = self._broker.spec.address

    def start_flower(self) -> None:
        """Start Flower without waiting for its page."""
        if not self.options.flower:
            return
        spec = flower_spec(
            self.broker_url,
            host=self.options.flower_host,
            port=self.options.flower_port,
            basic_auth=self.options.flower_basic_auth,
        )
        self.flower_url = spec.address
        self._flower = self._keep(spec)

    def start_workers(self) -> None:
        """Start all workers."""
        env = {**self.options.env, "ORCHESTRATOR_BROKER_URL": self.broker_url}
        specs = worker_specs(self.options.workers, env=env, log_level=self.options.worker_log_level)
        self._workers = [self._keep(spec) for spec in specs]

    def watch(self) -> None:
        """Look once at every child; start again what ended by itself and is due. Never blocks."""
        now = time.monotonic()
        started_again = [kept.look(now) for kept in self._kept()]
        if any(started_again):
            self._save()

    def broker_failure(self) -> str:
        """Why the embedded broker is gone, or an empty string. It is not started again here:
        with its file broken it would only fail once more, and its log says why."""
        if self._broker is None or self._broker.running:
            return ""
        return f"valkey ended with exit code {self._broker.exit_code}; log {self._broker.log_path}"

    def run(self, until: Callable[[], bool]) -> str:
        """Watch until `until()` says so or the broker is gone; returns why it ended, or ''."""
        while not until():
            failure = self.broker_failure()
            if failure:
                return failure
            self.watch()
            time.sleep(_WATCH_SECONDS)
        return ""

    def stop(self) -> None:
        """End all children: workers hand their runs back, then Flower, then the broker."""
        stop_all([kept.child for kept in self._kept()])
        if self._broker:
            stop_all([self._broker])
        if self._lock.held:
            remove_up_state(self.options.state_dir)
        self._lock.release()

    def _kept(self) -> list[_Restarted]:
        return [*self._workers, *([self._flower] if self._flower else [])]

    def _keep(self, spec: ChildSpec) -> _Restarted:
        child = Child(spec, self._log_path(spec.name))
        child.start()
        return _Restarted(child)

    def _log_path(self, name: str) -> Path:
        return self.options.state_dir / "logs" / f"{name}.log"

    def _save(self) -> None:
        children = [kept.child for kept in self._kept()]
        if self._broker:
            children.append(self._broker)
        write_up_state(
            self.options.state_dir,
            UpState(
                supervisor_pid=os.getpid(),
                broker_url=self.broker_url,
                database_url=self.options.database_url,
                flower_url=self.flower_url,
                pids={child.spec.name: child.pid for child in children},
            ),
        )


class _Restarted:
    """A child that is started again when it ends by itself."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._backoff_seconds = _BACKOFF_FIRST_SECONDS
        self._due: float | None = None

    def look(self, now: float) -> bool:
        """True if it was started again just now. `now` is monotonic seconds."""
        if self.child.running:
            return False
        if self._due is None:
            self._due = self._plan(now)
            return False
        if now < self._due:
            return False
        self._due = None
        self.child.start()
        log.info("child.restarted", child=self.child.spec.name, pid=self.child.pid)
        return True

    def _plan(self, now: float) -> float:
        if now - self.child.started_at > _HEALTHY_SECONDS:
            self._backoff_seconds = _BACKOFF_FIRST_SECONDS
        wait = self._backoff_seconds
        self._backoff_seconds = min(wait * 2, _BACKOFF_CAP_SECONDS)
        log.warning(
            "child.ended",
            child=self.child.spec.name,
            exit_code=self.child.exit_code,
            again_in_seconds=wait,
            log=str(self.child.log_path),
            said=self.child.log_tail().rpartition("\n")[2],
        )
        return now + wait


class StopRequested:
    """True once SIGINT, SIGTERM or SIGHUP has come; a second one while stopping is ignored, so
    that an impatient Ctrl-C cannot leave children behind."""

    def __init__(self) -> None:
        self._requested = False

    def __call__(self) -> bool:
        return self._requested

    def install(self) -> Self:
        """Take over the signals; main thread only."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
