"""A worker whose roads to database and broker are slow, cut one by one, and stranded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from redis import Redis

from orchestrator.embedded.address import LOOPBACK
from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.valkey import start_valkey
from orchestrator.embedded.workers import worker_spec
from orchestrator.service.submitting import Submitter
from orchestrator.wiring_services import open_services
from tests.faults.chaos.judging import judge
from tests.faults.chaos.stage import Mood, Scene, Stage, new_folder, prepare, remove, set_up
from tests.faults.chaos.submission import Submissions
from tests.faults.roads import Road
from tests.faults.workload import BY_NAME, RunSeed

RUNS = 12
MOOD = Mood(latency_seconds=(0.25, 0.35))
TIMES = {"heartbeat_seconds": 1.0, "dead_after_seconds": 4.0, "concurrency": 100}
SHAPES = [BY_NAME[name] for name in ("all-keyed", "mixed", "final-unkeyed")]
FORWARD = "default.forward"
END_SECONDS = 90.0


@dataclass
class Game:
    """A worker that is near, one that is far, and the roads on which the far one depends."""

    stage: Stage
    far: Child
    database: Road
    broker: Road
    submitter: Submitter
    seeds: list[RunSeed] = field(default_factory=list)
    submissions: Submissions = field(default_factory=Submissions)

    async def submit(self, label: str) -> list[str]:
        """New runs."""
        new = [
            RunSeed(name=f"{label}-{number:03d}", shape=SHAPES[number % len(SHAPES)])
            for number in range(RUNS)
        ]
        self.seeds += new
        await self.submissions.spread(self.submitter, new, seconds=0)
        return [self.submissions.acknowledged[seed.name] for seed in new]

    async def into_far_hands(self, label: str) -> list[str]:
        """New runs, of which the far worker takes up all, since it is alone."""
        ids = await self.submit(label)
        seen: set[str] = set()

        def all_taken() -> bool:
            seen.update(self.held_by_far())
            return seen >= set(ids)

        await until(all_taken, "the far worker has all of them")
        return ids

    def held_by_far(self) -> set[str]:
        """Runs that it owns."""
        return set(self.stage.tables.held_by(self.far.pid).runs)

    async def near_comes(self) -> None:
        """Somebody who takes over what is lost."""
        self.stage.supervisor.start()
        (near,) = self.stage.supervisor.workers
        await until(lambda: near.pid in self.stage.tables.living(), "the near worker is there")

    async def settled(self) -> None:
        """Every run has."""
        await until(lambda: self.stage.tables.unsettled() == 0, "all runs have settled")

    def name_of_far(self) -> str | None:
        """Under which it owns runs now; None: it was declared dead."""
        return self.stage.tables.living().get(self.far.pid)


async def broker_cut(game: Game) -> None:
    """What it has in hand goes on, since no limit is asked for; then it takes up new runs again."""
    ids = await game.into_far_hands("silent")
    game.broker.cut()
    await game.settled()
    assert game.stage.tables.taken_over(ids) == 0
    game.broker.mend()
    await game.into_far_hands("heard")
    await game.settled()


async def slow(game: Game) -> None:
    """A tenth of a second each way, and as much more now and then: nobody is called dead for it."""
    name = game.name_of_far()
    for road in (game.database, game.broker):
        road.slow(0.1, more=0.1)
    ids = await game.into_far_hands("slow")
    await game.near_comes()
    await game.settled()
    assert game.name_of_far() == name
    assert game.stage.tables.taken_over(ids) == 0
    for road in (game.database, game.broker):
        road.slow(0.0)


async def database_cut(game: Game) -> None:
    """Others have its runs; what it says when it is back is not heard, and it joins again."""
    name, number = game.name_of_far(), 0
    while not game.held_by_far():
        await game.submit(f"cut-{number}")
        number += 1
    game.database.cut()
    held = game.held_by_far()
    await game.settled()
    assert held
    assert game.stage.tables.taken_over(list(held)) > 0
    game.database.mend()
    await until(lambda: game.name_of_far() not in (None, name), "it has joined again")


async def replica_takes_over(game: Game) -> None:
    """It has what was done since, and has not what came since."""
    first = game.stage.broker.url
    folder = game.stage.state_dir / "replica"
    replica = start_valkey(folder, log_path=game.stage.logs / "replica.log")
    try:
        with Redis.from_url(replica.spec.address) as link, Redis.from_url(first) as before:
            game.broker.cut()
            await game.submit("twice")
            before.config_set("repl-diskless-sync-delay", 0)
            link.replicaof(LOOPBACK, str(_port(first)))
            await until(lambda: link.llen(FORWARD) > 0, "the replica has the messages")
            link.replicaof("NO", "ONE")
            game.broker.mend()
            await game.settled()
            game.broker.lead_to(_port(replica.spec.address))
            await game.submit("lost")  # told to the one that nobody listens to any more
            await game.settled()
            await until(lambda: link.llen(FORWARD) == 0, "the old messages are taken as well")
        game.broker.lead_to(_port(first))
    finally:
        stop_all([replica])


async def stranded(game: Game) -> None:
    """Its connections are open and dead: it finds out by itself and takes up new runs."""
    await game.into_far_hands("reached")
    assert game.broker.strand() > 0
    await game.into_far_hands("stranded")
    await game.settled()


Part = Callable[[Game], Awaitable[None]]


@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_roads_that_are_cut_or_slow() -> None:
    _judged(broker_cut, slow, database_cut)


@pytest.mark.postgres
@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_broker_that_is_another_or_behind_dead_connections() -> None:
    _judged(replica_takes_over, stranded)


def _judged(*parts: Part) -> None:
    folder = new_folder()
    scene = Scene(database="postgres", workers=1, mood=MOOD, settings=TIMES)
    try:
        with set_up(scene, folder) as stage:
            game = asyncio.run(_play(stage, parts))
            stage.supervisor.stop()
            found = judge(stage, game.seeds, game.submissions.acknowledged)
            assert found.clean, found.story()
    finally:
        remove(folder)


async def _play(stage: Stage, parts: Sequence[Part]) -> Game:
    await prepare(stage)
    async with _game(stage) as game:
        await until(lambda: game.name_of_far() is not None, "the far worker is there")
        for part in parts:
            await part(game)
        assert game.far.running
    return game


@asynccontextmanager
async def _game(stage: Stage) -> AsyncIterator[Game]:
    assert stage.postgres is not None
    ports = [_port(address) for address in (stage.postgres.url, stage.broker.url)]
    with Road(ports[0]) as database, Road(ports[1]) as broker:
        env = {
            **stage.supervisor.options.env,
            "ORCHESTRATOR_DATABASE_URL": _over(database, stage.postgres.url),
            "ORCHESTRATOR_BROKER_URL": _over(broker, stage.broker.url),
        }
        far = Child(worker_spec("far", env=env), stage.logs / "far.log")
        far.start()
        try:
            async with open_services(stage.settings) as services:
                yield Game(stage, far, database, broker, services.submitter)
        finally:
            database.mend()
            broker.mend()
            stop_all([far])


def _port(address: str) -> int:
    found = urlsplit(address).port
    assert found is not None
    return found


def _over(road: Road, address: str) -> str:
    return address.replace(f":{_port(address)}/", f":{road.port}/")


async def until(condition: Callable[[], bool], what: str) -> None:
    """AssertionError when it takes too long."""
    end = time.monotonic() + END_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, f"not within {END_SECONDS:g} s: {what}"
        await asyncio.sleep(0.05)
