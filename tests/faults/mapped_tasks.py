"""Functions of a workflow with a map, one item of which kills its worker. Workers import it.

Each effect is a line of a ledger, `name number key`, once for each key.
"""

from __future__ import annotations

import os
import signal

from orchestrator import NotLanded, TaskContext, Workflow, task
from tests.faults.deadly_tasks import write

MODULE = "tests.faults.mapped_tasks"
ITEMS, DEADLY = 40, 17


@task(effects="keyed")
def book(number: int, ledger: str, context: TaskContext) -> None:
    """Done, and for one of them the whole process is gone before anybody hears of it."""
    if write(ledger, f"book {number}", context) and number == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)


@task(effects="keyed")
def cancel(number: int, ledger: str, context: TaskContext) -> None:
    write(ledger, f"cancel {number}", context)


@task(effects="keyed")
def refuse(ledger: str) -> None:
    raise NotLanded("nobody wants it")


def workflow() -> Workflow:
    """It turns back behind a map, in the middle of which a worker dies."""
    item = Workflow("mapped-item", inputs={"number": int, "ledger": str}).step(
        book, compensate=cancel
    )
    return (
        Workflow("mapped", inputs={"ledger": str})
        .each("all", item, count=ITEMS, item="number", parallel=8)
        .step(refuse, no_compensation="it does nothing")
    )
