"""Worker processes as children: one Celery worker each, identical, named w1, w2, …"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from orchestrator.embedded.process import ChildSpec


def worker_specs(
    count: int, *, env: Mapping[str, str], log_level: str = "INFO"
) -> tuple[ChildSpec, ...]:
    """`count` workers; `env` carries the settings (ORCHESTRATOR_*) that differ from ours."""
    return tuple(
        worker_spec(f"w{number}", env=env, log_level=log_level) for number in range(1, count + 1)
    )


def worker_spec(name: str, *, env: Mapping[str, str], log_level: str = "INFO") -> ChildSpec:
    """One worker. SIGTERM is its warm shutdown: it hands its runs back and ends."""
    return ChildSpec(
        name=name,
        argv=worker_argv(name, log_level=log_level),
        env=env,
        grace_seconds=20.0,
        restart=True,
    )


def worker_argv(name: str, *, log_level: str = "INFO") -> tuple[str, ...]:
    """The command line of one worker, for a child or for exec.

    No gossip and no mingle: workers share nothing but the table, so there is nothing to ask each
    other, and a start is a second quicker.
    """
    return (
        *(sys.executable, "-m", "orchestrator.worker"),
        *("-n", f"{name}@%h", f"--loglevel={log_level}", "--without-gossip", "--without-mingle"),
    )
