"""The judge accepts what is honest, whatever happened to the runs on their way."""

from __future__ import annotations

import random

import pytest

from tests.faults.checker.honest import World
from tests.faults.checker.invariants import check
from tests.faults.checker.report import as_text
from tests.faults.checker.weathered import weathered
from tests.faults.workload import seeds

RUNS = 300


@pytest.mark.parametrize("seed", range(10))
def test_honest_runs_in_bad_weather_are_accepted(seed: int) -> None:
    world, chance = World(), random.Random(seed)
    for run in seeds(seed, RUNS):
        weathered(world, run, chance)
    verdict = check(world.seeds, world.records, world.tables)
    assert not verdict.violations, as_text(verdict)
    assert set(verdict.endings) == {"succeeded", "compensated", "escalated"}
    assert verdict.unresolvable
