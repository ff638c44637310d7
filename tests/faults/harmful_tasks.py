"""Functions that harm the worker process which runs them. Workers import this module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from orchestrator import RetryPolicy, Workflow, step, task

MODULE = "tests.faults.harmful_tasks"
FOR_EVER = 3600.0


@task(effects="keyed")
async def stand_still(mark: str) -> None:
    """The first time it is called: the process's loop goes no further."""
    _sleep_once(Path(mark))


def _sleep_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        time.sleep(FOR_EVER)


@task(effects="keyed")
async def be_killed(mark: str) -> None:
    """As by the kernel when memory runs out: the whole process, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(effects="none", retry=RetryPolicy(max_attempts=2, first_delay_seconds=0.1))
async def eat(mark: str) -> None:
    """More memory than the process may have."""
    bytearray(1 << 40)


@task(effects="keyed")
async def work(mark: str) -> None:
    """Nothing."""


def workflows() -> list[Workflow]:
    """One for each of them."""
    inputs = {"mark": str}
    return [
        Workflow(name.__name__, inputs=inputs).step(
            step(name, id="only", no_compensation="it leaves nothing behind")
        )
        for name in (stand_still, be_killed, eat, work)
    ]
