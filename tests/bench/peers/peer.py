"""What a durable engine looks like to this bench: variants, a crew that is up, one round.

A peer brings servers and workers of its own, private and on loopback, for the length of a round.
Where a server keeps data, it keeps it from round to round, as PostgreSQL does for the orchestrator.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any, Protocol

from orchestrator.embedded.process import Child, ChildSpec, stop_all
from tests.bench.engine import costs
from tests.bench.engine.figures import Round
from tests.bench.engine.place import ROOT, Place, Wish
from tests.bench.peers.names import STUB_VARIABLE, refused

WARM_RUNS = 20
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One configuration of a peer."""

    way: str  # in its own words: how runs get there, or what serves them
    workers: int  # processes

    @property
    def title(self) -> str:
        """As reports name it."""
        return f"{self.way}, {self.workers} worker{'s' if self.workers > 1 else ''}"


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """Runs that were given all at once and have ended well."""

    seconds: float  # from before the first was given until the last had ended
    latencies_seconds: Sequence[float]  # of each, the queue included


class Crew(Protocol):
    """Servers and workers of a peer, up."""

    parts: Mapping[str, Sequence[int]]
    """Process ids by part; `workers` is one."""

    async def bulk(self, numbers: Sequence[int]) -> Bulk:
        """All at once. Raises RuntimeError when one does not end as it must."""

    async def warmed(self) -> None:
        """Between the warm-up and what counts."""

    async def one(self, number: int) -> None:
        """Alone, as its client sees it: returns when the client knows. Raises RuntimeError."""


class Peer(Protocol):
    """A durable engine that packages can bring."""

    system: str
    durability: str
    """What is safe on disk when a step counts as done, in words for people."""
    most_runs: int | None
    """Of a round, where more would take too long; None when it is quick enough."""

    def missing(self) -> str:
        """What is to be installed, and how; empty when it is all there."""

    def version(self) -> str:
        """Of what is installed."""

    def prepare(self) -> None:
        """Bring what no Python package brings. Raises Unavailable."""

    def variants(self, wish: Wish) -> Sequence[Variant]:
        """Configurations worth trying for this work."""

    def settings(self, place: Place) -> Mapping[str, Any]:
        """What was not chosen here and matters."""

    def crew(self, place: Place, variant: Variant, runs: int) -> AbstractAsyncContextManager[Crew]:
        """All of it up, for rounds of so many runs; ended on leaving.

        Raises Unavailable, TimeoutError.
        """


async def round_of(peer: Peer, place: Place, variant: Variant, runs: int) -> Round:
    """Start it, warm it up, do the work, end it. Raises TimeoutError, RuntimeError, Unavailable."""
    async with asyncio.timeout(PATIENCE_SECONDS), peer.crew(place, variant, runs) as crew:
        await crew.bulk(range(WARM_RUNS))
        await crew.warmed()
        numbers = range(WARM_RUNS, WARM_RUNS + runs)
        before = costs.cpu_seconds(crew.parts)
        done = await (_alone if place.wish.load == "latency" else _at_once)(crew, numbers)
        return Round(
            runs=runs,
            steps=links_of(place.wish),
            seconds=done.seconds,
            latencies_seconds=done.latencies_seconds,
            cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
            peak_bytes=costs.peak_bytes(crew.parts["workers"]),
            more=_memory_of_servers(crew.parts),
        )


def links_of(wish: Wish) -> int:
    """Steps and compensations that are done for one run."""
    return 2 * wish.steps - 1 if wish.load == "fail" else wish.steps


def flow_of(wish: Wish) -> str:
    """The name of the workflow that does this work, at every peer."""
    return {"io20": "calls", "fail": "refused"}.get(wish.load, "noop")


def outcome_of(wish: Wish) -> str:
    """What a run must end with: the words of its error, or nothing."""
    return refused(wish.steps - 1) if wish.load == "fail" else ""


def check(outcomes: Sequence[str], wish: Wish) -> None:
    """Raises RuntimeError unless each run has ended as it must."""
    wrong = Counter(outcome for outcome in outcomes if outcome != outcome_of(wish))
    if wrong:
        raise RuntimeError(f"{wrong.total()} runs did not end with {outcome_of(wish)!r}: {wrong}")


async def all_of(
    numbers: Sequence[int], call: Callable[[int], Awaitable[str]], wish: Wish, *, at_once: int
) -> Bulk:
    """Call for each number, so many at once. Raises RuntimeError unless each ends as it must."""
    began, free = time.perf_counter(), asyncio.Semaphore(at_once)

    async def one(number: int) -> tuple[str, float]:
        async with free:
            outcome = await call(number)
        return outcome, time.perf_counter() - began

    ended = await asyncio.gather(*(one(number) for number in numbers))
    check([outcome for outcome, _ in ended], wish)
    latencies = [seconds for _, seconds in ended]
    return Bulk(seconds=max(latencies), latencies_seconds=latencies)


async def _at_once(crew: Crew, numbers: Sequence[int]) -> Bulk:
    return await crew.bulk(numbers)


async def _alone(crew: Crew, numbers: Sequence[int]) -> Bulk:
    latencies, began = [], time.perf_counter()
    for number in numbers:
        start = time.perf_counter()
        await crew.one(number)
        latencies.append(time.perf_counter() - start)
    return Bulk(seconds=time.perf_counter() - began, latencies_seconds=latencies)


def _memory_of_servers(parts: Mapping[str, Sequence[int]]) -> dict[str, float]:
    peaks = costs.peak_bytes(parts.get("server", ()))
    return {"peak_memory_of_server_mib": sum(peaks) / 2**20} if peaks else {}


# --- processes ------------------------------------------------------------------------------------


def worker_env(place: Place) -> dict[str, str]:
    """What every worker needs: this source tree, and where the stub is."""
    stub = {} if place.stub is None else {STUB_VARIABLE: place.stub.address}
    return {"PYTHONPATH": str(ROOT), **stub}


def new_folder(place: Place, system: str) -> Path:
    """For the logs of one round."""
    folder = place.folder / system / str(time.monotonic_ns())
    folder.mkdir(parents=True)
    return folder


@contextmanager
def up(specs: Sequence[ChildSpec], folder: Path) -> Iterator[list[Child]]:
    """Start one after the other, each when the one before is ready; end them all on leaving.

    Raises Unavailable.
    """
    children: list[Child] = []
    try:
        for spec in specs:
            children.append(Child(spec, folder / f"{spec.name}.log"))
            children[-1].start()
            children[-1].wait_ready()
        yield children
    finally:
        stop_all(children)
        for child in children:  # helpers of a master that did not wait for them
            child.signal(SIGKILL)


def said(log: Path, word: str) -> bool:
    """Whether a line of this log begins with the word."""
    with suppress(FileNotFoundError):
        return any(line.startswith(word) for line in log.read_text(errors="replace").splitlines())
    return False
