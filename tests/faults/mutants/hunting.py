"""Hunts one planted fault: simulation after simulation, until a promise is broken.

Only what the checker names counts, or the replay of the journals, or that runs never settle. What
merely crashes is no proof of the judge: errors that the engine logs are collected and told apart,
and a fault whose own patch raises is broken itself.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from orchestrator.crashpoints import Crash
from orchestrator.errors import Unavailable
from tests.faults.checker.invariants import INVARIANTS, SECRETS
from tests.faults.jumping import UNSETTLED, WAY
from tests.faults.mutants.patching import strikes
from tests.faults.mutants.planting import Mutant, World, nothing
from tests.faults.mutants.worlds import play
from tests.faults.simulation.answering import ANSWERS
from tests.faults.simulation.judging import DEAD_LETTERS, REPLAY

NAMES = (*INVARIANTS, SECRETS, REPLAY, DEAD_LETTERS, ANSWERS, WAY, UNSETTLED)
"""What may catch a fault. An exception in a callback of the loop is none of them."""
OURS = "mutants"  # in the names of all files that plant anything
RUNS = 60  # in one simulation


@dataclass(kw_only=True)
class Hunt:
    """What came of hunting one fault. `caught_by` is "" when it has escaped."""

    name: str
    breaks: str
    world: World
    caught_by: str = ""
    broken: dict[str, int] = field(default_factory=dict)  # every promise, and how often
    detail: str = ""  # the first breach in words
    seed: int = 0  # of the last simulation
    runs: int = 0
    seconds: float = 0.0
    strikes: int = 0  # times that the fault is known to have made a difference
    errors: dict[str, int] = field(default_factory=dict)  # logged by the engine, weather aside
    own_error: str = ""  # the patch itself has raised

    @property
    def caught(self) -> bool:
        """By a promise of the judge, and not by an accident of its own."""
        return bool(self.caught_by) and not self.own_error

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        known: dict[str, Any] = {
            "name": self.name, "breaks": self.breaks, "world": self.world.value,
            "caught_by": self.caught_by or None, "broken": self.broken, "detail": self.detail,
            "seed": self.seed, "runs": self.runs, "seconds": round(self.seconds, 2),
        }  # fmt: skip
        accidents = {"errors": self.errors, "own_error": self.own_error}
        return {**known, **{name: value for name, value in accidents.items() if value}}


def hunt(mutant: Mutant, *, seeds: int, runs: int = RUNS, first: int = 1) -> Hunt:
    """At most so many simulations of the fault's world."""
    hunted = Hunt(name=mutant.name, breaks=mutant.breaks, world=mutant.world)
    begun, before = time.perf_counter(), strikes()
    for seed in range(first, first + seeds):
        if _simulate(hunted, mutant, seed, runs):
            break
    hunted.seconds, hunted.strikes = time.perf_counter() - begun, strikes() - before
    return hunted


def unbroken(world: World) -> Mutant:
    """A world as it is, to be hunted in vain."""
    return Mutant(
        name=f"control: {world}", breaks="nothing", what="", world=world, sabotage=nothing
    )


def _simulate(hunted: Hunt, mutant: Mutant, seed: int, runs: int) -> bool:
    """Whether anything was broken."""
    accidents = Accidents()
    result = play(mutant.world, seed, runs=runs, sabotage=mutant.sabotage, watch=accidents.watched)
    hunted.seed, hunted.runs = seed, hunted.runs + runs
    hunted.errors = dict(Counter(hunted.errors) + accidents.errors)
    hunted.own_error = hunted.own_error or accidents.own
    broken = Counter(v.invariant for v in result.violations if v.invariant in NAMES)
    if not broken:
        return bool(hunted.own_error)
    hunted.broken = dict(broken)
    hunted.caught_by = broken.most_common(1)[0][0]
    told = next(v for v in result.violations if v.invariant == hunted.caught_by)
    hunted.detail = f"{told.run}: {told.detail}"[:300]
    return True


class Accidents:
    """Exceptions that the engine has caught and logged, but for those of the weather."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.own = ""  # one that came out of a patch

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Collect meanwhile. The simulation has quietened the logs already."""
        before = structlog.get_config()
        structlog.configure(
            processors=[self._collect],
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        )
        try:
            yield
        finally:
            structlog.configure(**before)

    def _collect(self, _: Any, __: str, event: dict[str, Any]) -> Any:
        error = event.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        if isinstance(error, BaseException) and not isinstance(error, Crash | Unavailable):
            self.errors[f"{event.get('event')}: {type(error).__name__}: {error}"[:200]] += 1
            last = traceback.extract_tb(error.__traceback__)[-1:]
            if last and OURS in last[0].filename:
                self.own = f"{type(error).__name__}: {error} ({last[0].filename}:{last[0].lineno})"
        raise structlog.DropEvent
