"""Real worker processes that end by SIGKILL at each point, and what the ledger says afterwards.

Before claim, intent and send on SQLite, after commit, publish and ack on PostgreSQL; at all of
them on both by `make long`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.faults.chaos.crashing import (
    ENGINE_POINTS,
    Crashed,
    Victim,
    crash,
    kill_owners,
    moments,
)
from tests.faults.chaos.judging import judge
from tests.faults.chaos.stage import Mood, Scene, Stage, new_folder, remove, set_up
from tests.faults.workload import seeds

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(200)]

PROMPT = Mood(latency_seconds=(0.0, 0.02))
SCENE = Scene(mood=PROMPT, workers=1, settings={"max_inline_steps": 2, "concurrency": 50})
HALF = len(ENGINE_POINTS) // 2


def survive(scene: Scene, act: Callable[[Stage], Awaitable[Crashed]]) -> None:
    """Play it; everything has settled and nothing is broken. The folder stays when it is."""
    folder = new_folder()
    with set_up(scene, folder) as stage:
        stage.supervisor.start()
        crashed = asyncio.run(_play(stage, act))
        stage.supervisor.stop()
        found = judge(stage, crashed.seeds, crashed.submissions.acknowledged)
    assert found.clean, f"{folder}\n{found.story()}"
    assert crashed.unsettled == 0
    remove(folder)


async def _play(stage: Stage, act: Callable[[Stage], Awaitable[Crashed]]) -> Crashed:
    return await act(stage)


@pytest.mark.parametrize(
    ("database", "points", "nth"),
    [
        ("sqlite", ENGINE_POINTS[:HALF:2], 15),
        ("postgres", ENGINE_POINTS[HALF + 1 :: 2], 10),
        pytest.param("sqlite", ENGINE_POINTS[1:HALF:2], 15, marks=pytest.mark.long),
        pytest.param("sqlite", ENGINE_POINTS[HALF:], 15, marks=pytest.mark.long),
        pytest.param("postgres", ENGINE_POINTS[:HALF], 10, marks=pytest.mark.long),
        pytest.param("postgres", ENGINE_POINTS[HALF::2], 10, marks=pytest.mark.long),
    ],
)
def test_a_worker_ends_at_each_point(database: str, points: tuple[str, ...], nth: int) -> None:
    victims = [Victim(point=point, nth=nth) for point in points]
    endless = itertools.chain.from_iterable(seeds(seed, 100) for seed in itertools.count(nth))
    survive(replace(SCENE, database=database), lambda stage: crash(stage, victims, endless))


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.long), "postgres"])
def test_owners_are_killed_while_the_api_is_before_or_after_the_effect(database: str) -> None:
    wanted = list(moments())
    scene = replace(SCENE, database=database, workers=2)
    survive(scene, lambda stage: kill_owners(stage, wanted))
