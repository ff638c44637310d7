"""Hunts in several processes, each in one that nothing has been planted in before."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.faults.mutants import deadline
from tests.faults.mutants.hunting import Hunt, control, hunt
from tests.faults.mutants.table import MUTANTS, World


@dataclass(frozen=True, kw_only=True)
class Task:
    """One hunt, as a worker process is told of it."""

    name: str  # of the fault; "" for a control
    world: World
    seeds: int
    runs: int
    first: int


def done(tasks: Sequence[Task], jobs: int) -> Iterator[Hunt]:
    """All of them, in order."""
    context = multiprocessing.get_context("spawn")  # as it is when nothing was imported
    with ProcessPoolExecutor(jobs, mp_context=context) as processes:
        yield from processes.map(do, tasks)


def do(task: Task) -> Hunt:
    """One hunt, in this process. One that takes too long has caught nothing."""
    how = {"seeds": task.seeds, "runs": task.runs, "first": task.first}
    try:
        with deadline.time_limit(deadline.LONGEST_HUNT_SECONDS):
            return hunt(MUTANTS[task.name], **how) if task.name else control(task.world, **how)
    except deadline.TooLong:
        name = task.name or f"control: {task.world}"
        breaks = MUTANTS[task.name].breaks if task.name else "nothing"
        return Hunt(name=name, breaks=breaks, world=task.world, own_error="took too long")
