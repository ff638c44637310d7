"""Wall clocks that jump by an hour, forth and back, of a worker and of the broker's machine.

Where there is no compiler of C (`apt-get install gcc`) this is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.workers import worker_spec
from orchestrator.service.submitting import Submitter
from orchestrator.wiring_services import open_services
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.judging import judge
from tests.faults.chaos.stage import (
    Limits,
    Mood,
    Scene,
    Stage,
    new_folder,
    prepare,
    remove,
    set_up,
)  # fmt: skip
from tests.faults.chaos.submission import Submissions
from tests.faults.clocks import Clock, compiler
from tests.faults.test_roads import until
from tests.faults.workload import RunSeed, seeds

pytestmark = [
    pytest.mark.long,
    pytest.mark.broker,
    pytest.mark.timeout(300),
    pytest.mark.skipif(compiler() is None, reason="there is no compiler of C"),
]

HOUR = 3600
RUNS = 60
MOOD = Mood(latency_seconds=(0.1, 0.3))
TIMES = {"heartbeat_seconds": 1.0, "dead_after_seconds": 20.0, "concurrency": RUNS}
"""Far below an hour, and far above what a busy machine holds a process up."""
LIMITS = Limits(rate=40, concurrency=10)
JUMPS = (HOUR, 0, -HOUR, 0)


@dataclass(kw_only=True)
class Game:
    """Runs under way while a clock jumps."""

    stage: Stage
    clock: Clock
    seeds: list[RunSeed] = field(default_factory=list)
    submissions: Submissions = field(default_factory=Submissions)

    async def jump_while_runs_go_on(self, submitter: Submitter, jumps: Sequence[int]) -> None:
        """Each jump with new runs under way; then all of them settle."""
        for number, seconds in enumerate(jumps):
            new = list(seeds(280 + number, RUNS // len(jumps)))
            self.seeds += new
            await self.submissions.spread(submitter, new, seconds=1.0)
            self.clock.jump(seconds)
            await asyncio.sleep(1.0)
        await until(lambda: self.stage.tables.unsettled() == 0, "all runs have settled")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = new_folder()
    yield made
    remove(made)


@pytest.mark.postgres
def test_of_a_worker(folder: Path) -> None:
    """Nobody is called dead for it, no run taken from it, and no wait is shorter or longer."""
    clock = Clock(folder / "clock")
    scene = Scene(database="postgres", workers=1, mood=MOOD, settings=TIMES, limits=LIMITS)
    with set_up(scene, folder) as stage:
        env = {**stage.supervisor.options.env, **clock.env,
               "ORCHESTRATOR_BROKER_URL": stage.broker.url}  # fmt: skip
        jumping = Child(worker_spec("jumping", env=env), stage.logs / "jumping.log")
        jumping.start()
        try:
            game = asyncio.run(_beside_another(Game(stage=stage, clock=clock), jumping))
        finally:
            stop_all([jumping])
        stage.supervisor.stop()
        _clean(game)


async def _beside_another(game: Game, jumping: Child) -> Game:
    stage = game.stage
    await prepare(stage)
    await until(lambda: jumping.pid in stage.tables.living(), "the worker is there")
    stage.supervisor.start()
    (other,) = stage.supervisor.workers
    await until(lambda: other.pid in stage.tables.living(), "the other one is there")
    names = dict(stage.tables.living())
    async with open_services(stage.settings) as services:
        began = time.monotonic()
        await game.jump_while_runs_go_on(services.submitter, JUMPS)
        assert time.monotonic() - began < HOUR / 30
    assert stage.tables.living() == names, "somebody was declared dead"
    assert stage.tables.taken_over(list(game.submissions.acknowledged.values())) == 0
    return game


def test_of_the_broker(folder: Path) -> None:
    """Limits hold, slots come back, and nothing stays shut for the length of the jump."""
    clock = Clock(folder / "clock")
    scene = Scene(mood=MOOD, settings=TIMES, limits=LIMITS, broker_env=clock.env)
    with set_up(scene, folder) as stage:
        stage.supervisor.start()
        game = asyncio.run(_alone(Game(stage=stage, clock=clock)))
        stage.supervisor.stop()
        _clean(game)


async def _alone(game: Game) -> Game:
    stage = game.stage
    await prepare(stage)
    await workers_up(stage)
    async with open_services(stage.settings) as services:
        await game.jump_while_runs_go_on(services.submitter, JUMPS)
    with Redis.from_url(stage.broker.url) as link:
        game.clock.jump(HOUR)
        ahead = float(link.time()[0]) - time.time()
    assert HOUR - 5 < ahead < HOUR + 5, f"its clock has not jumped: {ahead}"
    return game


def _clean(game: Game) -> None:
    found = judge(game.stage, game.seeds, game.submissions.acknowledged)
    assert found.clean, found.story()
    statuses = game.stage.ledger.statistics()["statuses"]
    assert statuses.get("429", 0) == 0, statuses
