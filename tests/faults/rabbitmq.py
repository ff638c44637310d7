"""A private RabbitMQ on loopback, of the system's package, that can be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec, stop_all

PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_ACCOUNT = "rabbitmq"
_CONTROL_SECONDS = 60


class Away(Exception):
    """It does not answer, or will not do it."""


def is_there() -> bool:
    """Whether it is installed, with what starts it under its account."""
    return Path(PROGRAM).exists() and shutil.which("setpriv") is not None and os.geteuid() == 0


class RabbitMq:
    """The server; `folder` must be reachable for other accounts."""

    def __init__(self, folder: Path, *, log_path: Path) -> None:
        self._data = folder / "rabbitmq"
        data, port, account = self._data, free_port(), pwd.getpwnam(_ACCOUNT)
        data.mkdir()
        os.chown(data, account.pw_uid, account.pw_gid)
        config = folder / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.1 = {LOOPBACK}:{port}\n")
        ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
        self._as_its_account = ("setpriv", *ids)
        self.child = Child(
            ChildSpec(
                name="rabbitmq",
                argv=(*self._as_its_account, "--pdeathsig=KILL", PROGRAM),
                address=f"amqp://guest:guest@{LOOPBACK}:{port}//",
                env=_environment(data, config, f"orchestrator{port}@localhost"),
                ready=lambda: _greets(port),
                ready_seconds=90.0,
            ),
            log_path,
        )

    def start(self) -> None:
        """Until it answers. Raises Unavailable."""
        self.child.start()
        self.child.wait_ready()

    def kill(self) -> None:
        """SIGKILL, with all its helpers."""
        self.child.signal(signal.SIGKILL)
        self.child.stop(by=0.0)

    def forget(self) -> None:
        """What it has on its disk is gone; it must not run."""
        shutil.rmtree(self._data / "mnesia", ignore_errors=True)

    def files(self) -> Iterator[Path]:
        """All that it has written."""
        yield from (path for path in self._data.rglob("*") if path.is_file())

    def control(self, *command: str) -> None:
        """Have its node do something. Raises Away."""
        argv = (*self._as_its_account, CONTROL, *command)
        done = subprocess.run(
            argv, env={**os.environ, **self.child.spec.env}, cwd=self._data,
            capture_output=True, text=True, timeout=_CONTROL_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Away(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")

    def stop(self) -> None:
        """End it, and the register of nodes that it has started, which leaves its session."""
        stop_all([self.child])
        env = {**os.environ, **self.child.spec.env}
        subprocess.run(["epmd", "-kill"], env=env, capture_output=True, timeout=10, check=False)


def _environment(data: Path, config: Path, node: str) -> dict[str, str]:
    return {
        "HOME": str(data), "RABBITMQ_NODENAME": node, "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"), "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
        "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }  # fmt: skip


def _greets(port: int) -> bool:
    """It answers the protocol's header with its first method."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as link:
            link.sendall(b"AMQP\x00\x00\x09\x01")
            return link.recv(1) == b"\x01"
    except OSError:
        return False
