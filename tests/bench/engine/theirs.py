"""An ordinary Celery canvas doing the same work once, and one task that does it all inline."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.embedded.process import Child, ChildSpec, stop_all
from tests.bench.engine import chain, costs
from tests.bench.engine.chain import BROKER_VARIABLE, ENDED, FOLDER_VARIABLE, STUB_VARIABLE
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Place
from tests.bench.engine.stub import LOOPBACK

WARM_RUNS = 20
PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.05
_ALONE_POLL_SECONDS = 0.0005
_GREENLETS = 250  # of each process
Send = Callable[[int], Any]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How Celery runs it."""

    name: str
    pool: str  # "prefork" or "gevent"
    inline: bool = False  # one task that does all steps

    @property
    def title(self) -> str:
        """As `figures.report` takes it."""
        return f"{'inline' if self.inline else 'celery-chain'} {self.name}"


def variants(load: str) -> Iterator[Variant]:
    """What is installed. Nothing is undone inline, and submission needs no worker."""
    if load == "submit":
        yield Variant(name="apply_async", pool="")
        return
    pools = ["prefork"]
    if importlib.util.find_spec("gevent") is not None:
        pools.append("gevent")
    yield from (Variant(name=pool, pool=pool) for pool in pools)
    if load in ("noop", "io20", "latency"):
        yield from (Variant(name=pool, pool=pool, inline=True) for pool in pools)


def round_of(place: Place, variant: Variant) -> Round:
    """Start workers, warm them up, do the work, end them. Raises TimeoutError."""
    place.empty_broker()
    chain.app.conf.broker_url = place.chain_url
    send = _sender(place, variant)
    if place.wish.load == "submit":
        return _submit_only(place, send)
    with _workers(place, variant) as crew:
        for number in range(WARM_RUNS):
            send(number)
        crew.wait(WARM_RUNS)
        if place.wish.load == "latency":
            return _one_by_one(crew, send)
        return _in_bulk(crew, send)


def _sender(place: Place, variant: Variant) -> Send:
    steps, load = place.wish.steps, place.wish.load
    if load == "submit":  # of one task, which is quicker than a chain's
        return lambda number: chain.work.apply_async((number,))
    if variant.inline:
        task = chain.inline_calls if load == "io20" else chain.inline
        return lambda number: task.apply_async((number, steps))
    made = {"io20": chain.calls, "fail": chain.refused}.get(load, chain.forward)
    return lambda number: made(number, steps).apply_async()


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Workers that are up."""

    place: Place
    parts: Mapping[str, Sequence[int]]
    folder: Path

    def ended(self) -> int:
        """Runs that have ended so far."""
        files = self.folder.glob("*.ended")
        return sum(file.stat().st_size for file in files) // ENDED.size

    def wait(self, wanted: int, poll_seconds: float = _POLL_SECONDS) -> None:
        """Until so many have. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.ended() < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.ended()} of {wanted} chains have ended")
            time.sleep(poll_seconds)

    def ends(self) -> dict[int, float]:
        """When each one ended, by number."""
        texts = (file.read_bytes() for file in self.folder.glob("*.ended"))
        return {number: at for text in texts for number, at in ENDED.iter_unpack(text)}


@contextmanager
def _workers(place: Place, variant: Variant) -> Iterator[Crew]:
    folder = place.folder / f"chain-{time.monotonic_ns()}"
    folder.mkdir()
    env = {
        BROKER_VARIABLE: place.chain_url, FOLDER_VARIABLE: str(folder),
        "PYTHONPATH": place.env["PYTHONPATH"],
    }  # fmt: skip
    if place.stub is not None:
        env[STUB_VARIABLE] = urlsplit(place.stub.address).netloc
    children = [Child(spec, folder / f"{spec.name}.log") for spec in _specs(place, variant, env)]
    try:
        for child in children:
            child.start()
        for child in children:
            child.wait_ready()
        parts = {"workers": [child.pid for child in children], **place.servers}
        yield Crew(place=place, parts=parts, folder=folder)
    finally:
        stop_all(children)


def _specs(place: Place, variant: Variant, env: Mapping[str, str]) -> Iterator[ChildSpec]:
    """Prefork is one worker with so many processes, gevent so many workers."""
    count = place.wish.workers
    forks = variant.pool == "prefork"
    for number in range(1, 2 if forks else count + 1):
        argv = (
            *(sys.executable, "-m", "celery", "-A", chain.__name__, "worker"),
            *("-P", variant.pool, "-c", str(count if forks else _GREENLETS)),
            *("-n", f"c{number}@{LOOPBACK}", "--loglevel=WARNING"),
            *("--without-gossip", "--without-mingle"),
        )
        yield ChildSpec(name=f"c{number}", argv=argv, env=env)


def _in_bulk(crew: Crew, send: Send) -> Round:
    wish = crew.place.wish
    first, before = crew.ended(), costs.cpu_seconds(crew.parts)
    sent = {}
    for number in range(WARM_RUNS, WARM_RUNS + wish.runs):
        sent[number] = time.time()
        send(number)
    crew.wait(first + wish.runs)
    ends = crew.ends()
    return Round(
        runs=wish.runs,
        steps=2 * wish.steps - 1 if wish.load == "fail" else wish.steps,
        seconds=max(ends.values()) - sent[WARM_RUNS],
        latencies_seconds=[ends[number] - at for number, at in sent.items()],
        cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )


def _one_by_one(crew: Crew, send: Send) -> Round:
    """Each as its client sees it."""
    wish, latencies = crew.place.wish, []
    first, before = crew.ended(), costs.cpu_seconds(crew.parts)
    began = time.perf_counter()
    for number in range(wish.runs):
        start = time.perf_counter()
        send(WARM_RUNS + number)
        crew.wait(first + number + 1, _ALONE_POLL_SECONDS)
        latencies.append(time.perf_counter() - start)
    return Round(
        runs=wish.runs, steps=wish.steps, seconds=time.perf_counter() - began,
        latencies_seconds=latencies,
        cpu_seconds=costs.difference(before, costs.cpu_seconds(crew.parts)),
        peak_bytes=costs.peak_bytes(crew.parts["workers"]),
    )  # fmt: skip


def _submit_only(place: Place, send: Send) -> Round:
    """Nobody takes them up: one publish after the other, by this process alone."""
    for number in range(WARM_RUNS):
        send(number)
    wish, before, began = place.wish, costs.cpu_seconds(place.servers), time.perf_counter()
    busy = time.process_time()
    for number in range(wish.runs):
        send(number)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    spent = costs.difference(before, costs.cpu_seconds(place.servers))
    return Round(
        runs=wish.runs, steps=wish.steps, seconds=seconds, cpu_seconds=spent,
        more={"submitter_cpu_microseconds": 1e6 * busy / wish.runs},
    )  # fmt: skip
