"""A broker at its memory limit: it answers, and takes nothing any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from orchestrator.wiring_services import open_services
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.judging import judge
from tests.faults.chaos.stage import Stage, new_folder, prepare, remove, set_up
from tests.faults.chaos.submission import Submissions
from tests.faults.chaos.takeover import QUICK, plain_seeds, scene
from tests.faults.workload import RunSeed

RUNS = 60
FULL_SECONDS = 3.0
SETTLED_SECONDS = 90.0


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_runs_are_accepted_and_go_on_when_there_is_room_again() -> None:
    seeds = plain_seeds(RUNS)
    folder = new_folder()
    try:
        with set_up(scene("sqlite", runs=RUNS, mood=QUICK), folder) as stage:
            stage.supervisor.start()
            acknowledged = asyncio.run(_play(stage, seeds))
            stage.supervisor.stop()
            assert set(acknowledged) == {seed.name for seed in seeds}
            found = judge(stage, seeds, acknowledged)
            assert found.clean, found.story()
    finally:
        remove(folder)


async def _play(stage: Stage, seeds: Sequence[RunSeed]) -> dict[str, str]:
    await prepare(stage)
    await workers_up(stage)
    submissions = Submissions()
    async with open_services(stage.settings) as services:
        await submissions.spread(services.submitter, seeds[: RUNS // 2], seconds=0)
        stage.broker.fill()
        try:
            await submissions.spread(services.submitter, seeds[RUNS // 2 :], seconds=0)
            await _watched(stage, until=time.monotonic() + FULL_SECONDS)
            assert stage.tables.unsettled() >= RUNS // 2, "nobody was told of the second half"
        finally:
            stage.broker.drain()
        await _settled(stage)
    return submissions.acknowledged


async def _settled(stage: Stage) -> None:
    """Workers that the full broker has ended are started again, as `up` does."""
    end = time.monotonic() + SETTLED_SECONDS
    while await asyncio.to_thread(stage.tables.unsettled):
        assert time.monotonic() < end, "runs that do not settle"
        await _watched(stage, until=time.monotonic() + 0.2)


async def _watched(stage: Stage, *, until: float) -> None:
    while time.monotonic() < until:
        stage.watch()
        await asyncio.sleep(0.1)
