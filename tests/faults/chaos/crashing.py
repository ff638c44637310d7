"""Workers that end at a named point, beside one that does not; and owners killed while the API is
at a certain moment of their request. The stage is drained afterwards and ready to be judged."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from orchestrator import crashpoints
from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.workers import worker_spec
from orchestrator.wiring_services import open_services
from tests.faults.chaos.game import workers_up
from tests.faults.chaos.stage import Stage, prepare
from tests.faults.chaos.submission import Submissions
from tests.faults.chaos.takeover import settled
from tests.faults.ledger.faults import Fate, Fault
from tests.faults.workload import BY_NAME, RunSeed

ENGINE_POINTS = tuple(
    point
    for point in crashpoints.POINTS
    if point not in ("after_send", "before_effect", "after_effect", "before_answer")
)
"""Those that a worker reaches by itself; at the others it waits for the API."""

DEAD_SECONDS = 60.0
SETTLED_SECONDS = 60.0
_BATCH = 20
_BATCH_EVERY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A worker that ends when it comes to a point for the n-th time."""

    point: str
    nth: int

    @property
    def wish(self) -> str:
        """As the environment says it."""
        return f"{self.point}:{self.nth}"


@dataclass(kw_only=True)
class Crashed:
    """What there is to judge."""

    seeds: list[RunSeed] = field(default_factory=list)
    submissions: Submissions = field(default_factory=Submissions)
    unsettled: int = -1


async def crash(stage: Stage, victims: Sequence[Victim], seeds: Iterator[RunSeed]) -> Crashed:
    """Run these workers until each has killed itself; as many of `seeds` as that takes.

    Raises TimeoutError naming the points that were never reached.
    """
    crashed = Crashed()
    await prepare(stage)
    await workers_up(stage)
    with _started(stage, victims) as children:
        async with open_services(stage.settings) as services:
            end = time.monotonic() + DEAD_SECONDS
            while alive := [name for name, child in children.items() if child.running]:
                if time.monotonic() > end:
                    raise TimeoutError(f"never reached: {', '.join(alive)}")
                some = [next(seeds) for _ in range(_BATCH)]
                crashed.seeds += some
                await crashed.submissions.spread(services.submitter, some, seconds=0)
                await asyncio.sleep(_BATCH_EVERY_SECONDS)
        codes = {name: child.exit_code for name, child in children.items()}
    assert set(codes.values()) == {-signal.SIGKILL}, codes
    crashed.unsettled = await settled(stage.tables, by=time.monotonic() + SETTLED_SECONDS)
    return crashed


@contextmanager
def _started(stage: Stage, victims: Sequence[Victim]) -> Iterator[dict[str, Child]]:
    env = {**stage.supervisor.options.env, "ORCHESTRATOR_BROKER_URL": stage.broker.url}
    children: dict[str, Child] = {}
    with ExitStack() as stack:
        for number, victim in enumerate(victims):
            spec = worker_spec(f"victim{number}", env={**env, crashpoints.VARIABLE: victim.wish})
            child = Child(spec, stage.logs / f"{spec.name}.log")
            child.start()
            stack.callback(stop_all, [child])
            children[victim.wish] = child
        yield children


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A link whose first request hangs at the API, before or after its effect."""

    seed: RunSeed
    step: str
    direction: str  # "do" or "undo"
    effect: bool


def moments() -> Iterator[Moment]:
    """Keyed, verified and unkeyed links in both directions, before and after the effect."""
    for number, (shape, step) in enumerate(
        [("all-keyed", 2), ("verified", 2), ("unkeyed", 1), ("mixed", 4), ("mixed", 3)]
    ):
        for effect in (False, True):
            for direction in ("do", "undo"):
                # To be undone it has to be done, and the step after it to be refused.
                refused = f"-f{step + 1}" if direction == "undo" else ""
                name = f"m{number}-{direction}-{'late' if effect else 'early'}{refused}"
                seed = RunSeed(name=name, shape=BY_NAME[shape])
                yield Moment(seed=seed, step=f"s{step}", direction=direction, effect=effect)


async def kill_owners(stage: Stage, wanted: Sequence[Moment]) -> Crashed:
    """Let each link's first request hang, then kill every worker; they are started again."""
    await prepare(stage)
    await workers_up(stage)
    for moment in wanted:
        fate = Fate(fault=Fault.HANG, effect=moment.effect)
        stage.ledger.will(moment.seed.name, moment.step, moment.direction, fate)
    crashed = Crashed(seeds=[moment.seed for moment in wanted])
    async with open_services(stage.settings) as services:
        await crashed.submissions.spread(services.submitter, crashed.seeds, seconds=0)
    await _hanging(stage, len(wanted))
    for child in stage.supervisor.workers:
        child.signal(signal.SIGKILL)
    watching = asyncio.create_task(_watch(stage))
    try:
        crashed.unsettled = await settled(stage.tables, by=time.monotonic() + SETTLED_SECONDS)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return crashed


async def _hanging(stage: Stage, count: int) -> None:
    """Wait until so many requests hang at once. Raises TimeoutError."""
    end = time.monotonic() + SETTLED_SECONDS
    while (now := stage.ledger.statistics()["in_flight"]) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{now} of {count} requests hang")
        await asyncio.sleep(0.02)


async def _watch(stage: Stage) -> None:
    while True:
        stage.watch()
        await asyncio.sleep(0.1)
