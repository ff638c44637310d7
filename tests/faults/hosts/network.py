"""Hosts that are network namespaces of one machine, joined by a bridge; nothing leaves it.

Everything is made within a network and a mount namespace of the caller's own (`enclosed`), so that
the machine's own network never sees it, and nothing of it is left when the caller has ended. Needs
root, and `ip`, `nsenter` and `unshare`. Addresses are of TEST-NET-2 (RFC 5737).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

PROGRAMS = ("ip", "mount", "nsenter", "unshare")
PLACES = Path("/run/netns")
BRIDGE = "hosts"
NET = "198.51.100"
CLIENTS = f"{NET}.0/24"
INSIDE = "ORCHESTRATOR_BENCH_ENCLOSED"


def lacking() -> str:
    """Why there can be no such hosts here; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "link", "add", "name", "tried", "type", "bridge"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return f"no bridge can be made: {tried.stderr.strip()}" if tried.returncode else ""


def is_enclosed() -> bool:
    """Whether this process has namespaces of its own."""
    return INSIDE in os.environ


def enclose(module: str, arguments: Sequence[str]) -> NoReturn:
    """Become the same command in namespaces of its own."""
    os.environ[INSIDE] = "1"
    apart = ("unshare", "--net", "--mount", "--propagation", "private", "--")
    os.execvp(apart[0], [*apart, sys.executable, "-m", module, *arguments])


@dataclass(frozen=True, kw_only=True)
class Host:
    """One of them."""

    name: str
    address: str

    @property
    def within(self) -> tuple[str, ...]:
        """What a command line begins with that runs there; the process id stays the same."""
        return ("nsenter", f"--net={PLACES / self.name}", "--")


@dataclass(kw_only=True)
class Network:
    """All hosts. The caller stands at the bridge, at the first address."""

    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        PLACES.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", str(PLACES))
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "name", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{NET}.1/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")

    def add(self, name: str) -> Host:
        """One host more, with a link that is up."""
        host = Host(name=name, address=f"{NET}.{len(self.hosts) + 10}")
        _run("ip", "netns", "add", name)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "add", "name", _cable(name), *peer)
        _run("ip", "link", "set", _cable(name), "master", BRIDGE, "up")
        _run("ip", "-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", link, "up")
        self.hosts[name] = host
        return host

    def cut(self, name: str) -> None:
        """Its link is down: nobody hears of it any more, and nothing is said of that."""
        _run("ip", "link", "set", _cable(name), "down")

    def mend(self, name: str) -> None:
        """Its link is up again."""
        _run("ip", "link", "set", _cable(name), "up")


def _cable(host: str) -> str:
    return f"to-{host}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
