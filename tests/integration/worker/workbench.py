"""A Valkey server and Celery worker processes, started on free ports and ended for certain."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.embedded.process import stop_all
from orchestrator.embedded.valkey import server_program
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.drops import Drops
from orchestrator.worker.intake import guard_connection
from tests.encrypted import start_broker

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def eventually(condition: Callable[[], Any], *, seconds: float = 60.0, what: str = "") -> Any:
    """The first true answer; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what or condition}")


class Process:
    """A child in a session of its own."""

    def __init__(self, argv: list[str], *, log: Any, env: dict[str, str] | None = None) -> None:
        self._child = subprocess.Popen(
            argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
            cwd=HERE,
        )
        self.pid = self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def signal(self, number: int) -> None:
        if self.alive():
            os.killpg(self.pid, number)

    def stop(self, *, seconds: float = 15.0) -> int:
        """SIGTERM, then SIGKILL; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            return self._child.wait(5)

    def wait(self, seconds: float) -> int:
        return self._child.wait(seconds)


@contextmanager
def valkey() -> Iterator[str]:
    """A server of its own; the URL of its database 0."""
    with TemporaryDirectory() as folder:
        server = start_broker(Path(folder), log_path=Path(folder) / "log")
        try:
            yield server.spec.address
        finally:
            stop_all([server])


def valkey_process(port: int, *flags: str) -> Process:
    """An empty server that answers on this port; the caller stops it."""
    argv = [server_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = Process([*argv, "--appendonly", "no", *flags], log=subprocess.DEVNULL)
    eventually(lambda: _pings(port) or not process.alive(), what="valkey answers")
    assert process.alive(), f"valkey did not start on port {port}"
    return process


def _pings(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
    except OSError:
        return False


_START = ("-c", """
import importlib, sys
from celery.bin.base import CLIContext
from celery.bin.worker import worker

app = importlib.import_module(sys.argv.pop(1)).app
worker.main(prog_name="worker", obj=CLIContext(app, no_color=True, workdir=None))
""")  # fmt: skip


def worker(
    broker_url: str,
    *,
    name: str = "w1",
    app: str = "tiny_worker",
    flags: tuple[str, ...] = (),
    log: Any = subprocess.DEVNULL,
    **env: str,
) -> Process:
    """`celery -A <app> worker` without loading the other commands; not waited for."""
    return Process(
        [
            *(sys.executable, *_START, app, "-n", f"{name}@test"),
            *("--without-gossip", "--without-mingle", "-l", "WARNING", *flags),
        ],
        log=log,
        env={"PYTHONPATH": f"{ROOT}:{HERE}", "TINY_BROKER_URL": broker_url, **env},
    )


class Reader:
    """kombu's consumer on a guarded connection, without a worker around it."""

    def __init__(self, app: OrchestratorApp, slots: int) -> None:
        self.got: list[str] = []
        self.fail_at: int | None = None
        self.most: int | None = None  # that are asked for at once, if not all free slots
        self.drops = Drops()
        self.connection = app.connection_for_read()
        guard_connection(self.connection, self.drops, self._free)
        self.consumer = app.amqp.TaskConsumer(self.connection, on_message=self._take)
        self.consumer.consume()

        self._slots = slots

    def _free(self) -> int:
        return self.most or self._slots - len(self.got)

    def _take(self, message: Any) -> None:
        if len(self.got) == self.fail_at:
            raise ZeroDivisionError
        self.got.append(message.headers["id"])
        message.ack()

    def answers(self, most: int = 100) -> list[int]:
        """How many messages each answer brought, until the queues are empty."""
        sizes = []
        for _ in range(most):
            before = len(self.got)
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                break
            sizes.append(len(self.got) - before)
        return sizes

    def close(self) -> None:
        self.consumer.cancel()
        self.connection.release()
