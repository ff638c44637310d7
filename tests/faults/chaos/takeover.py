"""How soon work goes on: scenarios with one fault each, the API slow, every run in flight at once.

Times are the database's: from the fault to the next record of each run by a worker that is well.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.embedded.process import Child
from orchestrator.store.locks_advisory import QUIET_SECONDS_AFTER_START
from orchestrator.wiring_services import open_services
from tests.faults.chaos.bystander import Bystander, Held, Link
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.recovered import percentile
from tests.faults.chaos.stage import Mood, Scene, Stage, prepare
from tests.faults.chaos.submission import Submissions
from tests.faults.ledger.records import Records
from tests.faults.workload import BY_NAME, RunSeed

SLOW = Mood(latency_seconds=(1.0, 2.0))
QUICK = Mood(latency_seconds=(0.02, 0.02))
FIVE_CALLS = BY_NAME["all-keyed"]
UNDER_WAY_SECONDS = 60.0
SETTLED_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """What became of the runs of one worker that was lost."""

    held: int  # runs in its hands
    seconds: tuple[float, ...]  # of each until its next step elsewhere
    in_flight: int  # steps that it had begun
    repeated: int  # steps that the API was asked for again
    repeated_others: int  # of these, such as were not in flight: there must be none
    unsettled: int  # of all runs, after SETTLED_SECONDS

    def to_json(self) -> dict[str, Any]:
        """Figures."""
        return {
            "held": self.held, **times(self.seconds), "never": self.held - len(self.seconds),
            "in_flight": self.in_flight, "repeated": self.repeated,
            "repeated_others": self.repeated_others, "unsettled": self.unsettled,
        }  # fmt: skip


def times(seconds: Sequence[float]) -> dict[str, float | None]:
    """In seconds."""
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = {name: percentile(seconds, share) for name, share in shares.items()}
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def scene(database: str, *, runs: int, mood: Mood = SLOW, workers: int = 2) -> Scene:
    """Everything can be in flight at once, also in one worker alone."""
    return Scene(
        database=database, workers=workers, mood=mood, connections=runs,
        settings={"concurrency": runs},
    )  # fmt: skip


def plain_seeds(count: int) -> list[RunSeed]:
    """Runs of five keyed calls that all succeed."""
    return [RunSeed(name=f"plain-{number:06d}", shape=FIVE_CALLS) for number in range(count)]


async def lose_a_worker(stage: Stage, runs: int, number: signal.Signals) -> Takeover:
    """One of two gets this signal (SIGKILL, SIGSTOP) while all runs are in flight."""
    await _all_under_way(stage, runs)
    tables = stage.tables
    # One that came late may have found nothing left to take.
    child = max(stage.supervisor.workers, key=lambda each: len(tables.held_by(each.pid).runs))
    at = tables.now()
    child.signal(number)
    if number == signal.SIGSTOP:
        at = await _outside_a_transaction(stage, [child])
    held, began = tables.held_by(child.pid), time.monotonic()
    assert held.worker is not None, "the worker is not registered"
    in_flight = tables.in_flight(held.runs)
    try:
        unsettled = await settled(tables, by=began + SETTLED_SECONDS)
    finally:
        child.signal(signal.SIGCONT)
    next_steps = tables.next_step_of_others(held.runs, worker=held.worker, after=at)
    return _takeover(held, [t - at for t in next_steps.values()], in_flight, stage, unsettled)


async def _outside_a_transaction(stage: Stage, children: Sequence[Child]) -> float:
    """Stop processes where they do not hold SQLite's lock; when they were stopped for good.

    Inside a transaction it keeps everybody on its machine from writing until it goes on or is
    killed. That is SQLite's, and no worker can do anything about it.
    """
    end = time.monotonic() + UNDER_WAY_SECONDS
    at = stage.tables.now()
    while not stage.tables.writable():
        if time.monotonic() > end:
            raise TimeoutError("no worker was ever stopped outside a transaction")
        for child in children:
            child.signal(signal.SIGCONT)
        await asyncio.sleep(0.05)
        at = stage.tables.now()
        for child in children:
            child.signal(signal.SIGSTOP)
    return at


def _takeover(
    held: Held, seconds: Sequence[float], in_flight: set[Link], stage: Stage, unsettled: int
) -> Takeover:
    repeated = repeated_links(stage.ledger.records())
    return Takeover(
        held=len(held.runs),
        seconds=tuple(seconds),
        in_flight=len(in_flight),
        repeated=len(repeated),
        repeated_others=len(repeated - in_flight),
        unsettled=unsettled,
    )


@dataclass(frozen=True, kw_only=True)
class Emptied:
    """What became of runs whose wake-ups were lost while every worker was well."""

    runs: int
    seconds: tuple[float, ...]  # of each until its first step
    unsettled: int

    def to_json(self) -> dict[str, Any]:
        """Figures."""
        never = self.runs - len(self.seconds)
        return {
            "runs": self.runs, **times(self.seconds), "never": never, "unsettled": self.unsettled,
        }  # fmt: skip


async def empty_the_broker(stage: Stage, runs: int) -> Emptied:
    """All wake-ups are lost at once: workers are held for as long as it takes to submit."""
    await prepare(stage)
    await workers_up(stage)
    submissions = Submissions()
    async with open_services(stage.settings) as services:
        for child in stage.supervisor.workers:
            child.signal(signal.SIGSTOP)
        try:
            await _outside_a_transaction(stage, stage.supervisor.workers)
            await submissions.spread(services.submitter, plain_seeds(runs), seconds=0)
            stage.broker.flush()
            at, began = stage.tables.now(), time.monotonic()
        finally:
            for child in stage.supervisor.workers:
                child.signal(signal.SIGCONT)
    unsettled = await settled(stage.tables, by=began + SETTLED_SECONDS)
    run_ids = list(submissions.acknowledged.values())
    first = stage.tables.next_step_of_others(run_ids, worker="", after=at)
    return Emptied(runs=runs, seconds=tuple(t - at for t in first.values()), unsettled=unsettled)


@dataclass(frozen=True, kw_only=True)
class OnlyWorker:
    """The only worker was killed, and another one started a while later."""

    seconds: float | None  # from the first submit to the last run's end; None: not all ended
    repeated: int  # steps that the API was asked for again

    def to_json(self) -> dict[str, Any]:
        """Figures."""
        took = None if self.seconds is None else round(self.seconds, 2)
        return {"seconds": took, "repeated": self.repeated}


async def lose_the_only_worker(stage: Stage, runs: int, *, away_seconds: float) -> OnlyWorker:
    """Kill it when a third of all calls has had its effect."""
    await prepare(stage)
    await workers_up(stage)
    at, (child,) = stage.tables.now(), stage.supervisor.workers
    await _submit(stage, runs)
    calls = runs * len(FIVE_CALLS.steps)
    await _until(lambda: stage.ledger.statistics()["effects"] >= calls / 3, "a third of all calls")
    child.signal(signal.SIGKILL)
    child.stop(by=0.0)
    await asyncio.sleep(away_seconds)
    child.start()
    unsettled = await settled(stage.tables, by=time.monotonic() + SETTLED_SECONDS)
    last = stage.tables.settled_by()
    return OnlyWorker(
        seconds=None if unsettled or last is None else last - at,
        repeated=len(repeated_links(stage.ledger.records())),
    )


# --- parts ----------------------------------------------------------------------------------------


def repeated_links(records: Records) -> set[Link]:
    """What the API was asked for more than once."""
    seen: set[Link] = set()
    again: set[Link] = set()
    for request in records.requests:
        link = (request.run, request.step, request.direction)
        (again if link in seen else seen).add(link)
    return again


async def settled(tables: Bystander, *, by: float) -> int:
    """Wait until every run has settled; how many have not at `by` (monotonic seconds)."""
    unsettled = -1
    while time.monotonic() < by:
        with suppress(SQLAlchemyError):
            unsettled = await asyncio.to_thread(tables.unsettled)
            if unsettled == 0:
                break
        await asyncio.sleep(0.1)
    return unsettled


async def _all_under_way(stage: Stage, runs: int) -> None:
    """Every run is in a worker's hands, and most of them have done their first step."""
    await prepare(stage)
    await workers_up(stage)
    if stage.postgres is not None:  # nobody is called dead by the lock just after its start
        await asyncio.sleep(QUIET_SECONDS_AFTER_START)
    await _submit(stage, runs)
    await _until(lambda: stage.tables.in_hands() >= runs, f"{runs} runs in hand")
    await _until(
        lambda: stage.ledger.statistics()["requests"] >= runs * 1.5, "second steps under way"
    )


async def _submit(stage: Stage, runs: int) -> None:
    async with open_services(stage.settings) as services:
        await Submissions().spread(services.submitter, plain_seeds(runs), seconds=0)


async def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + UNDER_WAY_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {UNDER_WAY_SECONDS:g} s")
        await asyncio.sleep(0.02)
