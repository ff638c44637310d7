"""One engine under the kills: load, kills and restarts at their times, then time to end.

Whatever process has ended is started again a second later, whoever ended it: that is all that the
bench does for an engine, and the same for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.bench.kills.engine import Crew, Engine, Mortal, Stage
from tests.bench.kills.judging import Ending, Kill, Verdict, judge
from tests.bench.kills.schedule import Part, Planned
from tests.faults.ledger.records import Records

AWAY_SECONDS = 1.0
"""Before what has ended is started again."""
WARM_RUNS = 8
WARM_SECONDS = 60.0
DRAIN_SECONDS = 120.0
"""After the last kill or the last submission: who has not ended by then never does."""
_CALL_SECONDS = 10.0
_RETRY_SECONDS = 0.3
_WATCH_SECONDS = 0.05
_LOOK_SECONDS = 0.5
_REFUSED_OF = 3  # every third run is refused at its last step


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to be done, and when what is killed."""

    runs: tuple[str, ...]  # their names say which ones are refused
    refused: frozenset[str]
    seconds: float  # over which they are begun, evenly
    kills: tuple[Planned, ...]


@dataclass(kw_only=True)
class Played:
    """What came of it."""

    kills: list[Kill] = field(default_factory=list)
    endings: Mapping[str, Ending] = field(default_factory=dict)
    submits_repeated: int = 0
    drain_seconds: float = 0.0
    restarts: int = 0  # of processes, more than were killed when an engine's own have ended

    def verdict(self, records: Records, load: Load) -> Verdict:
        """Held against the ledger."""
        return judge(records, self.kills, self.endings, set(load.refused))


def load_of(seed: int, count: int, kills: Sequence[Planned]) -> Load:
    """So many runs, begun until a second after the last kill."""
    names = [
        f"k{seed}-{number:05d}" + ("-f5" if number % _REFUSED_OF == 0 else "")
        for number in range(count)
    ]
    refused = frozenset(name for name in names if name.endswith("-f5"))
    seconds = max((kill.at for kill in kills), default=0.0) + 1.0
    return Load(runs=tuple(names), refused=refused, seconds=seconds, kills=tuple(kills))


async def play(engine: Engine, stage: Stage, load: Load, say: Callable[[str], None]) -> Played:
    """All of it. Raises TimeoutError when not even the first runs end, and what `crew` raises."""
    async with engine.crew(stage) as crew:
        played = Played()
        await _warm(crew)
        keeping = asyncio.create_task(_keep_up(crew, played))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_submit(crew, load, played))
                tasks.create_task(_kill(crew, load, played, say))
            began = time.monotonic()
            played.endings = await _drained(crew, load.runs)
            played.drain_seconds = time.monotonic() - began
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        return played


async def _warm(crew: Crew) -> None:
    """Runs that do not count."""
    names = [f"warm-{number}" for number in range(WARM_RUNS)]
    for name in names:
        await crew.submit(name)
    async with asyncio.timeout(WARM_SECONDS):
        while not _over(await crew.endings(names), names):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_LOOK_SECONDS)


async def _submit(crew: Crew, load: Load, played: Played) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number, run in enumerate(load.runs):
            await asyncio.sleep(began + number * load.seconds / len(load.runs) - loop.time())
            tasks.create_task(_insist(crew, run, played))


async def _insist(crew: Crew, run: str, played: Played) -> None:
    """Again under the same name until it is accepted. Raises TimeoutError."""
    async with asyncio.timeout(DRAIN_SECONDS):
        while True:
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    await crew.submit(run)
                return
            except Exception:  # noqa: BLE001 -- each engine has errors of its own for a server away
                played.submits_repeated += 1
                await asyncio.sleep(_RETRY_SECONDS)


async def _kill(crew: Crew, load: Load, played: Played, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for planned in load.kills:
        await asyncio.sleep(began + planned.at - loop.time())
        some = crew.workers if planned.part is Part.WORKER else crew.servers
        victim = some[planned.turn % len(some)]
        name = victim.child.spec.name
        played.kills.append(Kill(at=time.time(), part=planned.part, name=name))
        victim.child.signal(victim.signal)
        say(f"{planned.at:7.1f} s  {name} is killed")


async def _keep_up(crew: Crew, played: Played) -> None:
    """Start again what has ended, until cancelled."""
    ended: dict[int, float] = {}
    mortals: Sequence[Mortal] = (*crew.workers, *crew.servers)
    while True:
        for number, mortal in enumerate(mortals):
            if mortal.child.running:
                ended.pop(number, None)
            elif time.monotonic() - ended.setdefault(number, time.monotonic()) >= AWAY_SECONDS:
                mortal.child.start()
                played.restarts += 1
        await asyncio.sleep(_WATCH_SECONDS)


async def _drained(crew: Crew, runs: Sequence[str]) -> Mapping[str, Ending]:
    """What is said of each when all have ended, or when it is time."""
    found: Mapping[str, Ending] = {}
    end = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < end and not _over(found, runs):
        await asyncio.sleep(_LOOK_SECONDS)
        with suppress(Exception):  # each engine has errors of its own for a server away
            found = await crew.endings(runs)
    return {run: found.get(run, Ending.OPEN) for run in runs}


def _over(found: Mapping[str, Ending], runs: Sequence[str]) -> bool:
    return all(found.get(run, Ending.OPEN) is not Ending.OPEN for run in runs)
