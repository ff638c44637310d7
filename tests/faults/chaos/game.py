"""One chaos run: faults while runs are submitted, healing, draining. Judged afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.ports import DEAD_LETTER_QUEUE
from orchestrator.wiring_services import open_services
from tests.faults.chaos.broker import UNREACHED
from tests.faults.chaos.recovered import Recoveries, recoveries
from tests.faults.chaos.saboteur import Happened, Saboteur
from tests.faults.chaos.schedule import Planned
from tests.faults.chaos.stage import Stage, prepare
from tests.faults.chaos.submission import Submissions
from tests.faults.workload import SHAPES, RunSeed, Shape

WATCH_SECONDS = 0.2
WORKERS_SECONDS = 60.0
DRAIN_SECONDS = 180.0
LETTERS_SECONDS = 30.0


class Interrupted(Exception):
    """Somebody wants it to end now."""


@dataclass(frozen=True, kw_only=True)
class Play:
    """What is to be done to a stage."""

    seeds: Sequence[RunSeed]
    faults: Sequence[Planned]
    seconds: float  # of the fault window, over which the runs are submitted
    shapes: Sequence[Shape] = SHAPES
    drain_seconds: float = DRAIN_SECONDS  # the hard end


@dataclass(kw_only=True)
class Played:
    """What came of it, as far as it can be said without judging."""

    submissions: Submissions = field(default_factory=Submissions)
    happened: Sequence[Happened] = ()
    drain_seconds: float = 0.0  # from the last fault until everything had settled
    unsettled: int = 0
    recoveries: Recoveries = field(default_factory=Recoveries)


@dataclass(frozen=True, kw_only=True)
class Watchers:
    """Who looks on."""

    say: Callable[[str], None]
    tick: Callable[[int, int], None] = lambda _settled, _acknowledged: None
    interrupted: Callable[[], bool] = lambda: False


async def play(stage: Stage, wish: Play, watchers: Watchers) -> Played:
    """All of it. Workers are up before and after. Raises Interrupted, TimeoutError, Unavailable."""
    played = Played()

    def look() -> None:
        if watchers.interrupted():
            raise Interrupted
        watchers.tick(played.unsettled, len(played.submissions.acknowledged))

    keeping = asyncio.create_task(keep_up(stage, look))
    try:
        playing = asyncio.create_task(_play(stage, wish, watchers, played))
        await asyncio.wait((keeping, playing), return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
            keeping.result()  # raises
        playing.result()
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError, Interrupted):
            await keeping
    return played


async def keep_up(stage: Stage, look: Callable[[], None] = lambda: None) -> None:
    """Watch the children until cancelled, and have a look each time. Raises Unavailable."""
    while True:
        look()
        stage.watch()
        await asyncio.sleep(WATCH_SECONDS)


async def _play(stage: Stage, wish: Play, watchers: Watchers, played: Played) -> None:
    await prepare(stage, wish.shapes)
    await workers_up(stage)
    await asyncio.to_thread(stage.misbehave)
    saboteur = Saboteur(stage=stage, say=watchers.say)
    played.happened = saboteur.happened
    async with open_services(stage.settings) as services, asyncio.TaskGroup() as tasks:
        submitting = played.submissions.spread(services.submitter, wish.seeds, seconds=wish.seconds)
        tasks.create_task(submitting)
        tasks.create_task(_fault_window(saboteur, wish))
    await asyncio.to_thread(stage.behave)
    healed_at = time.monotonic()
    watchers.say(f"{saboteur.seconds:7.1f} s  healed; draining")

    def tell(unsettled: int) -> None:
        played.unsettled = unsettled

    await drain(stage, until=healed_at + wish.drain_seconds, tell=tell)
    played.drain_seconds = time.monotonic() - healed_at
    await _letters_out(stage)
    played.recoveries = await asyncio.to_thread(recoveries, stage.tables, saboteur.happened)


async def _fault_window(saboteur: Saboteur, wish: Play) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wish.seconds):
            await saboteur.play(wish.faults)
            await asyncio.sleep(wish.seconds)
    await saboteur.heal()


async def workers_up(stage: Stage) -> None:
    """Wait until every worker is registered. Raises TimeoutError."""
    wanted = stage.supervisor.options.workers
    end = time.monotonic() + WORKERS_SECONDS
    while len(await asyncio.to_thread(stage.tables.living)) < wanted:
        if time.monotonic() > end:
            raise TimeoutError(f"{wanted} workers: not up after {WORKERS_SECONDS:g} s")
        await asyncio.sleep(0.1)


async def drain(
    stage: Stage, *, until: float, tell: Callable[[int], None] = lambda _unsettled: None
) -> None:
    """Until every run has settled; gives up silently: the judge will say which has not."""
    while time.monotonic() < until:
        with suppress(SQLAlchemyError):
            unsettled = await asyncio.to_thread(stage.tables.unsettled)
            tell(unsettled)
            if unsettled == 0:
                return
        await asyncio.sleep(WATCH_SECONDS)


async def _letters_out(stage: Stage) -> None:
    """Until the dead-letter queue holds what waits for people; silently for at most a while."""
    end = time.monotonic() + LETTERS_SECONDS
    while time.monotonic() < end:
        escalated = (await asyncio.to_thread(stage.tables.counts)).get("escalated", 0)
        with suppress(*UNREACHED):
            if stage.broker.depths()[DEAD_LETTER_QUEUE] == escalated:
                return
        await asyncio.sleep(WATCH_SECONDS)
