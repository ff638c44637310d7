"""The judge is fast enough to be asked often, and has nothing to say about honest runs."""

from __future__ import annotations

import time

import pytest

from tests.faults.checker.honest import World, drive
from tests.faults.checker.invariants import check
from tests.faults.workload import SHAPES, Shape, seeds
from tests.steady import HeldStill

RUNS = 5_000
SECONDS = 3.0


@pytest.mark.long
def test_five_thousand_honest_runs_are_judged_in_three_seconds(held_still: HeldStill) -> None:
    world = World()
    for seed in seeds(7, RUNS):
        drive(world, seed)
    records, tables = world.records, world.tables
    begun = time.process_time()
    verdict = check(world.seeds, records, tables)
    seconds = time.process_time() - begun
    assert verdict.violations == ()
    assert sum(verdict.endings.values()) == RUNS
    held_still(seconds < SECONDS, f"{seconds} s of CPU")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_has_honest_runs_of_each_ending(shape: Shape) -> None:
    world = World()
    for seed in seeds(3, 200, shapes=[shape]):
        drive(world, seed)
    verdict = check(world.seeds, world.records, world.tables)
    assert verdict.violations == ()
    assert set(verdict.endings) >= {"succeeded"} | (
        {"compensated"} if len(shape.steps) > 1 else set()
    )
