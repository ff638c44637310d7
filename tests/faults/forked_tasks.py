"""Functions of a workflow with a block, one of which kills its worker. Workers import this module.

Each effect is a line of a ledger, `name key`, once for each key.
"""

from __future__ import annotations

import os
import signal
import time

from orchestrator import NotLanded, TaskContext, Workflow, task
from tests.faults.deadly_tasks import write

MODULE = "tests.faults.forked_tasks"


@task(effects="keyed")
def begin(ledger: str, context: TaskContext) -> None:
    write(ledger, "begin", context)


@task(effects="keyed")
def begin_undo(ledger: str, context: TaskContext) -> None:
    write(ledger, "begin.undo", context)


@task(effects="keyed")
def left(ledger: str, context: TaskContext) -> None:
    """Done, and the first time the whole process is gone before anybody hears of it."""
    is_first = write(ledger, "left", context)
    time.sleep(0.2)  # so that the other branch is under way
    if is_first:
        os.kill(os.getpid(), signal.SIGKILL)


@task(effects="keyed")
def left_undo(ledger: str, context: TaskContext) -> None:
    write(ledger, "left.undo", context)


@task(effects="keyed")
def right(ledger: str, context: TaskContext) -> None:
    write(ledger, "right", context)


@task(effects="keyed")
def right_undo(ledger: str, context: TaskContext) -> None:
    write(ledger, "right.undo", context)


@task(effects="keyed")
def refuse(ledger: str) -> None:
    raise NotLanded("nobody wants it")


def workflow() -> Workflow:
    """It turns back behind a block, in which a worker dies."""
    return (
        Workflow("forked", inputs={"ledger": str})
        .step(begin, compensate=begin_undo)
        .parallel(
            "fan",
            {
                "left": Workflow("left").step(left, compensate=left_undo),
                "right": Workflow("right").step(right, compensate=right_undo),
            },
        )
        .step(refuse, no_compensation="it does nothing")
    )
