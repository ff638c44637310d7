"""`orchestrator bench pace`: runs that settle in a second while faults happen, beside undisturbed.

One stage, whose workers always have more to do than they can. Quiet windows and disturbed ones take
turns, so that a machine that becomes slower or faster weighs on both alike; a fault begins every
five seconds of a disturbed one, and what it takes to heal is counted in it. Faults are those of
workers, broker and database: an API that is away stops its runs whoever drives them. In the end
all of it drains, and is judged as chaos is.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import OrchestratorError
from orchestrator.service.submitting import Submitter
from orchestrator.telemetry.logging import configure_logging
from orchestrator.wiring_services import open_services
from tests.faults.chaos.game import WATCH_SECONDS, drain, keep_up, workers_up
from tests.faults.chaos.judging import Judgement, judge
from tests.faults.chaos.performing import Database
from tests.faults.chaos.saboteur import Happened, Saboteur
from tests.faults.chaos.schedule import BY_DATABASE, LASTS, Kind, Planned
from tests.faults.chaos.stage import Mood, Scene, Stage, new_folder, prepare, remove, set_up
from tests.faults.chaos.submission import Submissions
from tests.faults.workload import RunSeed, seeds

GOAL = 0.5
FAULT_EVERY_SECONDS = 5.0
AHEAD, BATCH, FEED_SECONDS = 1500, 300, 0.2
REST_SECONDS = 5.0  # before each window
COUNT_SECONDS = 30.0
DRAIN_SECONDS = 300.0
ENDED = ("succeeded", "compensated", "escalated")
KINDS = (Kind.KILL, Kind.KILL, Kind.FREEZE, Kind.FLUSH, Kind.EMPTY_RESTART, Kind.PURGE)
QUICK = Mood(latency_seconds=(0.005, 0.02))


@dataclass(kw_only=True)
class Measured:
    """What came of it. Throughputs in runs a second, one for each window."""

    seeds: list[RunSeed] = field(default_factory=list)
    submissions: Submissions = field(default_factory=Submissions)
    quiet: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of all disturbed windows to all quiet ones, which are as many and as long."""
        return sum(self.disturbed) / sum(self.quiet)


@dataclass(kw_only=True)
class Pace:
    """One stage, fed and measured."""

    stage: Stage
    seed: int
    seconds: float  # of a window
    pairs: int
    console: Console
    measured: Measured = field(default_factory=Measured)

    async def play(self) -> Measured:
        """All windows, and the draining. Raises TimeoutError, Unavailable."""
        await prepare(self.stage)
        await workers_up(self.stage)
        watching = asyncio.create_task(keep_up(self.stage))
        async with open_services(self.stage.settings) as services:
            feeding = asyncio.create_task(self._feed(services.submitter))
            try:
                await self._windows()
            finally:
                feeding.cancel()
                with suppress(asyncio.CancelledError):
                    await feeding
            await self._acknowledge(services.submitter)
        await drain(self.stage, until=time.monotonic() + DRAIN_SECONDS)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        return self.measured

    async def _windows(self) -> None:
        kinds = endless(random.Random(f"pace {self.seed}"), self.stage.scene.database)
        for number in range(self.pairs):
            faults = tuple(planned(kinds, seed=self.seed + number, seconds=self.seconds))
            self.measured.quiet.append(await self._window(()))
            self.measured.disturbed.append(await self._window(faults))
            self.console.print(
                f"quiet {self.measured.quiet[-1]:.0f}, disturbed"
                f" {self.measured.disturbed[-1]:.0f} runs a second", markup=False,
            )  # fmt: skip

    async def _window(self, faults: tuple[Planned, ...]) -> float:
        """Runs that settled in a second of it."""
        await asyncio.sleep(REST_SECONDS)
        before, began = await self._settled(), time.monotonic()
        if faults:
            saboteur = Saboteur(stage=self.stage, say=self.console.print)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await saboteur.play(faults)
            await saboteur.heal()
            self.measured.happened += saboteur.happened
        await asyncio.sleep(max(0.0, began + self.seconds - time.monotonic()))
        after = await self._settled()
        return (after - before) / (time.monotonic() - began)

    async def _settled(self) -> int:
        """Runs that have ended, one way or another; the database may be on its way back."""
        async with asyncio.timeout(COUNT_SECONDS):
            while True:
                try:
                    counts = await asyncio.to_thread(self.stage.tables.counts)
                except SQLAlchemyError:
                    await asyncio.sleep(WATCH_SECONDS)
                else:
                    return sum(counts.get(each, 0) for each in ENDED)

    async def _feed(self, submitter: Submitter) -> None:
        """Always so many ahead of the workers."""
        batches = (seeds(self.seed * 100_000 + number, BATCH) for number in itertools.count())
        while True:
            if len(self.measured.seeds) - await self._settled() > AHEAD:
                await asyncio.sleep(FEED_SECONDS)
                continue
            batch = list(next(batches))
            self.measured.seeds += batch
            await self.measured.submissions.spread(submitter, batch, seconds=0)

    async def _acknowledge(self, submitter: Submitter) -> None:
        """The batch in which feeding was ended: the same keys again, to the same runs."""
        known = self.measured.submissions.acknowledged
        rest = [each for each in self.measured.seeds if each.name not in known]
        await self.measured.submissions.spread(submitter, rest, seconds=0)


def endless(chance: random.Random, database: str) -> Iterator[Kind]:
    """Kinds of faults; each comes once before any comes again, kills come twice."""
    kinds = (*KINDS, *BY_DATABASE[database])
    while True:
        yield from chance.sample(kinds, len(kinds))


def planned(kinds: Iterator[Kind], *, seed: int, seconds: float) -> Iterator[Planned]:
    """The faults of one window."""
    chance, turns = random.Random(f"lasts {seed}"), itertools.cycle(range(2))
    for number in range(int(seconds // FAULT_EVERY_SECONDS)):
        kind = next(kinds)
        lasts = chance.uniform(*LASTS.get(kind, (0.0, 0.0)))
        yield Planned(at=number * FAULT_EVERY_SECONDS, kind=kind, worker=next(turns), lasts=lasts)


def measure(
    database: str, *, seed: int, seconds: float, pairs: int, workers: int, console: Console
) -> tuple[Measured, Judgement]:
    """On a stage of its own, whose folder stays when a promise was broken, or it was not ended."""
    folder = new_folder()
    scene = Scene(
        database=database, workers=workers, seed=seed, mood=QUICK, settings={"concurrency": 1000}
    )
    try:
        with set_up(scene, folder) as stage:
            stage.supervisor.start()
            pace = Pace(stage=stage, seed=seed, seconds=seconds, pairs=pairs, console=console)
            measured = asyncio.run(pace.play())
            stage.supervisor.stop()
            judgement = judge(stage, measured.seeds, measured.submissions.acknowledged)
    except BaseException:
        console.print(f"kept: {folder}", markup=False)
        raise
    if judgement.clean:
        remove(folder)
    else:
        console.print(f"{judgement.story()}\nkept: {folder}", markup=False)
    return measured, judgement


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    seconds: Annotated[float, typer.Option(min=10, help="Length of each window.")] = 40.0,
    pairs: Annotated[int, typer.Option(min=1, help="Quiet and disturbed windows.")] = 3,
    seed: Annotated[int, typer.Option(help="Decides runs and faults.")] = 1,
    db: Annotated[Database, typer.Option(help="The database.")] = Database.SQLITE,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Throughput with a fault every five seconds, as a share of that without.

    Exits with 1 when it is at most half, or when a promise was broken.
    """
    configure_logging(level="ERROR")
    console = Console(stderr=True, highlight=False)
    try:
        measured, judgement = measure(
            db.value, seed=seed, seconds=seconds, pairs=pairs, workers=workers, console=console
        )
    except (OrchestratorError, TimeoutError) as error:
        console.print(f"not played to its end: {error}", markup=False)
        raise typer.Exit(1) from None
    found = _figures(measured, judgement) | {"db": db.value, "seed": seed, "seconds": seconds}
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, value in found.items():
            console.print(f"{name:>28}  {value}", markup=False)
    raise typer.Exit(0 if measured.ratio > GOAL and judgement.clean else 1)


def _figures(measured: Measured, judgement: Judgement) -> dict[str, Any]:
    done = Counter(each.planned.kind.value for each in measured.happened if not each.skipped)
    return {
        "ratio": round(measured.ratio, 3),
        "quiet_runs_per_second": [round(each, 1) for each in measured.quiet],
        "disturbed_runs_per_second": [round(each, 1) for each in measured.disturbed],
        "runs": len(measured.submissions.acknowledged), "faults": dict(done),
        **judgement.counts(),
    }  # fmt: skip


if __name__ == "__main__":
    app(prog_name="orchestrator bench pace")
