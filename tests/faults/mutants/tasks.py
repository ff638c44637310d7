"""Hunts in several processes, each in one that nothing has been planted in before."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.faults.mutants import deadline
from tests.faults.mutants.hunting import Hunt, hunt, unbroken
from tests.faults.mutants.table import HARMLESS, MUTANTS, World

CONTROL_SEEDS, SLOW_CONTROL_SEEDS = 6, 3


def control_seeds(world: World) -> int:
    """So many seeds, from the first one on, are played without a fault."""
    return SLOW_CONTROL_SEEDS if world.slow else CONTROL_SEEDS


@dataclass(frozen=True, kw_only=True)
class Task:
    """One hunt, as a worker process is told of it."""

    name: str  # of the fault, harmless or not; "" for a world as it is
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
    wanted = {**MUTANTS, **HARMLESS}.get(task.name) or unbroken(task.world)
    warnings.simplefilter("ignore")  # what a broken engine leaves unawaited is no news
    try:
        with deadline.time_limit(deadline.LONGEST_HUNT_SECONDS):
            found = hunt(wanted, seeds=task.seeds, runs=task.runs, first=task.first)
            if task.name in MUTANTS and found.seed >= task.first + control_seeds(task.world):
                _check_without(found, task)
            return found
    except deadline.TooLong:
        why = f"took longer than {deadline.LONGEST_HUNT_SECONDS:.0f} s"
        return Hunt(name=wanted.name, breaks=wanted.breaks, world=task.world, own_error=why)


def _check_without(found: Hunt, task: Task) -> None:
    """No control has played this seed yet: what is found in it counts only if it is the fault's."""
    without = hunt(unbroken(task.world), seeds=1, runs=task.runs, first=found.seed)
    if without.broken:
        found.own_error = f"seed {found.seed} breaks {', '.join(without.broken)} without it too"
