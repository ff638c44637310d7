"""The step, cut at every point: `python -m tests.faults.simulation.cells [--json]`.

A step goes through eight moments, t0 to t7; before and after each lies a crash point. One run goes
through them forward or backward; at its first, middle or last link its process is killed, or fails
with an exception, or hangs until others have called it dead and then goes on. That makes

    8 moments x {forward, compensating} x {first, middle, last} x {kill, raise, hang} = 144 cells,

each cut on both sides of its moment, for links whose API honours keys, can be asked, or neither:
864 simulations. In each the point must be hit, the run must settle and every promise must hold.

Which link a moment belongs to: claim, publish and ack are of the message that brings the link (that
of the first link is published by whoever submits the run); a commit is the one that records the
link's outcome.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orchestrator.core.states import Direction
from orchestrator.crashpoints import PLACES, Reached
from orchestrator.ports import hop_id_of
from orchestrator.testing.loop import Life, Process, Stuck, VirtualLoop
from orchestrator.testing.process import LIMITS
from orchestrator.testing.quiet import quiet
from tests.faults.checker.invariants import Violation
from tests.faults.simulation.backing import MemoryBacking
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import judge
from tests.faults.simulation.telling import timeline
from tests.faults.workload import Kind, RunSeed, Shape

F, B = Direction.FORWARD, Direction.BACKWARD
At = tuple[int, Direction]
KINDS = (Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED)
SIDES = ("before", "after")
STEPS = 3  # that are done; going back, a fourth one is refused
LINKS = {"first": {F: 0, B: 2}, "middle": {F: 1, B: 1}, "last": {F: 2, B: 0}}
BY_MESSAGE = ("claim", "publish", "ack")
HUNG_SECONDS = 20.0  # a process is dead after six without a sign of life
PATIENCE_SECONDS = 120.0
AFTERMATH_SECONDS = 12.0


class How(StrEnum):
    """What happens at the point."""

    KILL = "kill"
    RAISE = "raise"
    HANG = "hang"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell, on one side of its moment, for one kind of API."""

    place: str  # "claim" … "ack": t0 … t7
    direction: Direction
    link: str  # "first", "middle", "last"
    how: How
    side: str = "before"
    kind: Kind = Kind.KEYED

    @property
    def point(self) -> str:
        """The crash point's name."""
        return f"{self.side}_{self.place}"

    @property
    def at(self) -> At:
        """The link that is cut."""
        return LINKS[self.link][self.direction], self.direction

    @property
    def shape(self) -> Shape:
        """The workflow: every link of the same kind."""
        steps = STEPS if self.direction is F else STEPS + 1
        return Shape(name=f"{self.kind}-{steps}", steps=((self.kind, self.kind),) * steps)

    @property
    def seed(self) -> RunSeed:
        """Its run."""
        name = "k0-000000" if self.direction is F else f"k0-000000-f{STEPS + 1}"
        return RunSeed(name=name, shape=self.shape)

    def __str__(self) -> str:
        return f"{self.point}-{self.direction}-{self.link}-{self.how}-{self.kind}"


def the_144() -> list[tuple[str, Direction, str, How]]:
    """Moment, direction, link, what happens."""
    return [
        (place, direction, link, how)
        for place in PLACES for direction in (F, B) for link in LINKS for how in How
    ]  # fmt: skip


def cells(kinds: Sequence[Kind] = KINDS) -> Iterator[Cell]:
    """All of them: each of the 144 on both sides and for each kind of API."""
    for place, direction, link, how in the_144():
        for side in SIDES:
            for kind in kinds:
                yield Cell(
                    place=place, direction=direction, link=link, how=how, side=side, kind=kind
                )


# --- one cell -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a cell."""

    cell: Cell
    hit: bool
    status: str
    violations: tuple[Violation, ...]
    stuck: str
    needed_a_person: bool
    story: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Its point was hit, and every promise was kept."""
        return self.hit and not self.violations and not self.stuck

    def report(self) -> str:
        """For people."""
        found = [f"  {v.invariant}: {v.detail}" for v in self.violations]
        if not self.hit:
            found.append(f"  the run never came to {self.cell.point}")
        head = f"{self.cell}: {self.status or 'no run'} {self.stuck}"
        return "\n".join([head, *found, *self.story])


def play(cell: Cell, *, with_story: bool = False) -> Outcome:
    """Simulate one cell."""
    with quiet(0) as errors:
        loop = VirtualLoop()
        try:
            return _Trial(cell, loop, told=with_story).outcome(errors)
        finally:
            loop.close()


class _Trial:
    def __init__(self, cell: Cell, loop: VirtualLoop, *, told: bool) -> None:
        self._cell, self._loop = cell, loop
        # Only without inline steps does every link have a message of its own.
        inline = 0 if cell.place in BY_MESSAGE else LIMITS.max_inline_steps
        options = Options(
            workers=2, inline=replace(LIMITS, max_inline_steps=inline), trace=told,
            shapes=(cell.shape,), latency=(0.01, 0.01),
        )  # fmt: skip
        self._house = House(loop, 0, MemoryBacking(loop), options)
        self._house.happens_at_point = self._happen
        self._answered = False  # at the link in question
        self._hung: Process | None = None
        self._hit = False

    def outcome(self, errors: Sequence[str]) -> Outcome:
        house, cell, stuck = self._house, self._cell, ""
        try:
            self._loop.run_until_complete(self._play())
        except Stuck as error:
            stuck = str(error)
        house.close()
        verdict = self._loop.run_apart(judge(house, [cell.seed], secrets=True, errors=errors))
        story = verdict.stories[cell.seed.name]
        return Outcome(
            cell=cell, hit=self._hit, status=story.status, violations=verdict.violations,
            stuck=stuck, needed_a_person=bool(verdict.unresolvable),
            story=tuple(timeline(house, story)) if house.tale is not None else (),
        )  # fmt: skip

    async def _play(self) -> None:
        house = self._house
        await house.open()
        await asyncio.sleep(0.1)
        house.submit([self._cell.seed])
        while not house.acknowledged or house.backing.unsettled() or self._hangs():
            if self._loop.time() > PATIENCE_SECONDS:
                raise Stuck(f"not settled after {PATIENCE_SECONDS:.0f} s")
            await asyncio.sleep(0.5)
        await asyncio.sleep(AFTERMATH_SECONDS)

    def _hangs(self) -> bool:
        return self._hung is not None and self._hung.life is Life.FROZEN

    def _happen(self, reached: Reached, process: Process) -> Awaitable[None] | None:
        if self._hit or not self._is_wanted(reached):
            return None
        self._hit = True
        house = self._house
        match self._cell.how:
            case How.KILL:
                return house.kill_here(reached, process)
            case How.HANG:
                self._hung = process
                return house.freeze_here(reached, process, HUNG_SECONDS)
            case How.RAISE:
                house.raise_here(reached, process)
        return None

    def _is_wanted(self, reached: Reached) -> bool:
        cell = self._cell
        here = reached.at == cell.at or reached.hop_id == hop_id_of(reached.run_id, cell.at)
        if cell.place == "commit":
            if reached.point == "after_answer" and here:
                self._answered = True
            return self._answered and reached.point == cell.point
        return here and reached.point == cell.point


# --- all of them ----------------------------------------------------------------------------------


def summed(outcomes: Sequence[Outcome], *, seconds: float) -> dict[str, Any]:
    """How many passed, as plain data. A cell of the 144 has passed when all its cuts have."""
    failed = {_coarse(outcome.cell) for outcome in outcomes if not outcome.passed}
    of = {_coarse(outcome.cell) for outcome in outcomes}
    return {
        "cells": len(of),
        "passed": len(of) - len(failed),
        "cuts": len(outcomes),
        "cuts_passed": sum(outcome.passed for outcome in outcomes),
        "points_hit": sum(outcome.hit for outcome in outcomes),
        "needed_a_person": sum(outcome.needed_a_person for outcome in outcomes),
        "failing": [str(outcome.cell) for outcome in outcomes if not outcome.passed],
        "seconds": round(seconds, 1),
    }


def _coarse(cell: Cell) -> tuple[str, Direction, str, How]:
    return cell.place, cell.direction, cell.link, cell.how


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 when a cell failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation.cells")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="part of a cell's name")
    parser.add_argument("--story", action="store_true", help="of every cell that is played")
    wanted = parser.parse_args(arguments)
    begun = time.perf_counter()
    chosen = [cell for cell in cells() if wanted.only in str(cell)]
    outcomes = [play(cell, with_story=wanted.story) for cell in chosen]
    summary = summed(outcomes, seconds=time.perf_counter() - begun)
    for outcome in outcomes:
        if wanted.story or not outcome.passed:
            told = outcome if outcome.story else play(outcome.cell, with_story=True)
            print(told.report(), file=sys.stderr)
    if wanted.json:
        print(json.dumps(summary, indent=2))
    else:
        print(
            f"{summary['passed']} of {summary['cells']} cells,"
            f" {summary['cuts_passed']} of {summary['cuts']} cuts, {summary['seconds']} s"
        )
    return int(summary["passed"] < summary["cells"])


if __name__ == "__main__":
    sys.exit(main())
