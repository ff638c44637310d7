"""What is done for each item of the map that is measured, alone and as an item. Workers import it.

Each effect is a line of a ledger, `do NUMBER` or `undo NUMBER`, appended at once.
"""

from __future__ import annotations

import os
from functools import cache

from orchestrator import NotLanded, Workflow, task

MODULE = "tests.bench.map_steps"


@task(effects="keyed")
async def book(number: int, ledger: str) -> None:
    """An effect, as cheap as one can be."""
    os.write(_opened(ledger), f"do {number}\n".encode())


@task(effects="keyed")
async def cancel(number: int, ledger: str) -> None:
    """Undoes it."""
    os.write(_opened(ledger), f"undo {number}\n".encode())


@task(effects="keyed")
async def confirm(number: int, every: int) -> None:
    """Refuses one number in so many; 0: none."""
    if every and number % every == 0:
        raise NotLanded("refused")


@task(effects="keyed")
async def close(refused: bool) -> None:
    """Behind the map."""
    if refused:
        raise NotLanded("refused")


ITEM = (
    Workflow("bench-item", inputs={"number": int, "ledger": str, "every": int})
    .step(book, compensate=cancel)
    .step(confirm, no_compensation="it has no effect")
)


def mapped(parallel: int, most_failures: str) -> Workflow:
    """All items at once, and a step that may turn the run back."""
    inputs = {"items": int, "ledger": str, "every": int, "refused": bool}
    return (
        Workflow("bench-map", inputs=inputs)
        .each(
            "all", ITEM, count="$inputs.items", item="number", parallel=parallel,
            max_failures=most_failures, undo_parallel=parallel,
        )
        .step(close, no_compensation="it has no effect")
    )  # fmt: skip


@cache
def _opened(ledger: str) -> int:
    return os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
