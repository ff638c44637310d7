"""One simulation: many runs in one house, a storm, peace, and the judge.

    result = simulate(seed=7, runs=200)
    assert not result.violations, result.report()

The same seed gives the same simulation, in any process. `sabotage` is a context manager that is
entered around the whole of it, so that a test can break the engine on purpose; `hunt` simulates
one seed after another until a promise is broken:

    with breaking_the_fence():                       # any patch of the engine, by whatever means
        found = hunt(range(1, 50), runs=40)          # or simulate(…, sabotage=breaking_the_fence())
    assert found is not None and "duplicate_effects" in found.broken

A simulation never hangs and never raises for what the engine does: one that gets no further is
judged as it stands, and its unsettled runs are `lost`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.testing.loop import Stuck, VirtualLoop
from orchestrator.testing.process import LIMITS
from orchestrator.testing.quiet import quiet
from tests.faults.checker.invariants import Verdict, Violation
from tests.faults.simulation.backing import Backing, MemoryBacking
from tests.faults.simulation.disasters import storm
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import digest, judge
from tests.faults.simulation.people import People
from tests.faults.simulation.telling import timeline
from tests.faults.simulation.weather import Rates, drawn
from tests.faults.workload import EVERY, seeds

StoreKind = Literal["memory", "sqlite"]
SUBMITTING_SECONDS = 20.0
STORM_SECONDS = 30.0
LIMITED = 0.3  # part of the simulations in which the API has limits
PATIENCE_SECONDS = 300.0  # after the storm, until everything must have settled
AFTERMATH_SECONDS = 8.0  # for what comes late: effects, revived workers
RECONCILED_SECONDS = 30  # until the dead-letter queue must be right


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one simulation."""

    seed: int
    runs: int
    store: StoreKind
    people: bool
    violations: tuple[Violation, ...]
    endings: dict[str, int]
    unresolvable: int  # runs whose doubt nothing could have resolved
    stuck: str  # why it got no further; "" when it came to its end
    virtual_seconds: float
    cpu_seconds: float
    deaths: int
    freezes: int
    crashes: int
    requests: int
    acts: int = 0  # decisions about dead letters
    cancels: int = 0
    digest: str = ""
    story: tuple[str, ...] = field(default=(), repr=False)

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the promises that were broken, each once."""
        return tuple(dict.fromkeys(violation.invariant for violation in self.violations))

    @property
    def command(self) -> str:
        """What repeats it."""
        more = " --store sqlite" if self.store == "sqlite" else ""
        more += f" --people {'all' if self.people else 'none'}"
        return (
            f"python -m tests.faults.simulation --batch {self.runs} --runs {self.runs}"
            f" --seed {self.seed}{more}"
        )

    def report(self) -> str:
        """For people: what was broken, what happened, how to see it again."""
        broken = [f"  {v.invariant}: {v.run}: {v.detail}" for v in self.violations[:10]]
        more = len(self.violations) - len(broken)
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.violations)} promises broken"
                + (f"; {self.stuck}" if self.stuck else ""),
                *broken,
                *([f"  and {more} more"] if more > 0 else []),
                *self.story,
                f"replay: {self.command}",
            ]
        )


def simulate(
    seed: int,
    *,
    runs: int = 100,
    store: StoreKind = "memory",
    people: bool = False,
    rates: Rates | None = None,
    storm_seconds: float = STORM_SECONDS,
    sabotage: AbstractContextManager[Any] | None = None,
    with_digest: bool = False,
    with_story: bool = False,
) -> Result:
    """Simulate one batch of runs. `rates` None: drawn by the seed.

    `people`: some runs are cancelled, and operators decide about dead letters until every run has
    really ended. `with_story`: of the first run that broke a promise (slower).
    """
    begun = time.process_time()
    with quiet(seed) as errors, sabotage or nullcontext():
        loop = VirtualLoop()
        backing = _backing(store, loop)
        try:
            played = _Play(
                seed, runs, loop, backing, rates, storm_seconds, errors, people=people,
                told=with_story,
            )  # fmt: skip
            return replace(
                played.through(store, with_digest=with_digest),
                cpu_seconds=time.process_time() - begun,
            )
        finally:
            backing.close()
            loop.close()


def hunt(seeds: Iterable[int], **how: Any) -> Result | None:
    """The first of these simulations in which a promise was broken; None when none was."""
    for seed in seeds:
        result = simulate(seed, **how)
        if result.violations:
            return result
    return None


def _backing(store: StoreKind, loop: VirtualLoop) -> Backing:
    if store == "memory":
        return MemoryBacking(loop)
    from tests.faults.simulation.sqlite import SqliteBacking

    return SqliteBacking(loop)


def _options(chance: random.Random, *, told: bool) -> Options:
    """A house that is like no other: how far drivers go alone, and what the API allows."""
    inline = replace(
        LIMITS, max_inline_steps=chance.choice((0, 2, 50)),
        short_wait_seconds=chance.choice((0.0, 0.3, 2.0)),
        gate_patience_seconds=chance.choice((0.5, 5.0)),
    )  # fmt: skip
    limited = chance.random() < LIMITED
    return Options(
        workers=chance.choice((2, 3)), inline=inline, trace=told,
        rate_per_second=chance.choice((None, 15, 30, 60)) if limited else None,
        at_once=chance.choice((None, 2, 5)) if limited else None,
    )  # fmt: skip


class _Play:
    """One simulation on its loop."""

    def __init__(
        self, seed: int, runs: int, loop: VirtualLoop, backing: Backing, rates: Rates | None,
        storm_seconds: float, errors: list[str], *, people: bool, told: bool,
    ) -> None:  # fmt: skip
        self._seed, self._runs, self._loop = seed, runs, loop
        self._seeds = list(seeds(seed, runs, shapes=EVERY))
        self._chance = random.Random(f"play {seed}")
        self._rates = rates or drawn(self._chance)
        self._storm_seconds, self._errors = storm_seconds, errors
        self._house = House(loop, seed, backing, _options(self._chance, told=told))
        self._people = People(self._house) if people else None

    def through(self, store: StoreKind, *, with_digest: bool) -> Result:
        """Play it, judge it."""
        loop, house, stuck = self._loop, self._house, ""
        try:
            loop.run_until_complete(self._play())
        except Stuck as error:
            stuck = str(error)
        house.close()
        ended = loop.time()
        verdict = loop.run_apart(
            judge(house, self._seeds, secrets=house.tale is not None, errors=self._errors)
        )
        return Result(
            seed=self._seed, runs=self._runs, store=store, people=self._people is not None,
            violations=verdict.violations,
            endings=dict(verdict.endings), unresolvable=len(verdict.unresolvable), stuck=stuck,
            virtual_seconds=ended, cpu_seconds=0.0, deaths=house.deaths, freezes=house.freezes,
            crashes=house.crashes, requests=house.desk.requests,
            acts=self._people.acts if self._people else 0,
            cancels=self._people.cancels if self._people else 0,
            digest=loop.run_apart(digest(house, self._seeds)) if with_digest else "",
            story=self._story(verdict),
        )  # fmt: skip

    async def _play(self) -> None:
        house = self._house
        await house.open()
        if self._people is not None:
            self._people.come()
        submitting = asyncio.ensure_future(self._submit())
        await storm(house, self._rates, self._storm_seconds)
        await submitting
        over = self._loop.time() + PATIENCE_SECONDS
        while self._is_going_on():
            if self._loop.time() > over:
                raise Stuck(f"not settled {PATIENCE_SECONDS:.0f} s after the storm")
            await asyncio.sleep(1.0)
        await asyncio.sleep(AFTERMATH_SECONDS)
        for _ in range(RECONCILED_SECONDS):
            if house.letters_agree():
                break
            await asyncio.sleep(1.0)

    async def _submit(self) -> None:
        gap = SUBMITTING_SECONDS / len(self._seeds)
        for seed in self._seeds:
            await asyncio.sleep(self._chance.uniform(0.0, 2.0 * gap))
            self._house.submit([seed])

    def _is_going_on(self) -> bool:
        house = self._house
        if len(house.acknowledged) < self._runs or house.backing.unsettled():
            return True
        return self._people is not None and house.backing.escalated() > 0

    def _story(self, verdict: Verdict) -> tuple[str, ...]:
        if self._house.tale is None or not verdict.violations:
            return ()
        run = next((v.run for v in verdict.violations if v.run in verdict.stories), "")
        return tuple(timeline(self._house, verdict.stories[run])) if run else ()
