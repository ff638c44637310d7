"""Goes through everything that can happen to some runs in the hands of two workers.

Breadth first, so that the way to a state is a shortest one. Runs meet nowhere but in the workers
that have them in hand: a worker's death, or that it is held for dead, befalls all of them in one
step. What can happen to a run alone is therefore worked out once for each state of a run, by the
real code, and looked up in all states of the whole in which that run stands so.

States that differ in nothing but which worker is called A, or which of two runs of one plan comes
first, are one state: no code looks at either.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from orchestrator.core.plan import Plan
from orchestrator.core.states import SETTLED
from tests.faults.model.invariants import wrong_move, wrong_state
from tests.faults.model.moves import Move, Moves, Worker
from tests.faults.model.values import Budget, State, first, in_order


class Slot(IntEnum):
    """How one of the two worker processes is; each dies, or is held for dead, once at most."""

    UP = 0
    HUNG = 1  # its heartbeat is overdue, which it knows (engine/heartbeat.py, Lifeline)
    BURIED = 2  # its row is gone, and it does not know; it holds its runs for doubtful
    DEAD = 3  # the process is gone, its row is not
    GONE = 4  # both are gone
    BACK = 5  # a new process, under a new id, in its place


ALIVE = {Slot.UP, Slot.HUNG, Slot.BURIED, Slot.BACK}
_UNLISTED = {Slot.BURIED, Slot.GONE, Slot.BACK}  # the old id has no row in `workers`
FALLS: tuple[tuple[Slot, Slot, str, bool], ...] = (
    (Slot.UP, Slot.HUNG, "is held up", False),
    (Slot.HUNG, Slot.UP, "beats again", True),
    (Slot.HUNG, Slot.BURIED, "is held for dead", True),
    (Slot.UP, Slot.DEAD, "dies", False),
    (Slot.HUNG, Slot.DEAD, "dies", False),
    (Slot.BURIED, Slot.GONE, "dies", False),
    (Slot.BURIED, Slot.BACK, "is told so, drops its runs and joins again", True),
    (Slot.DEAD, Slot.GONE, "is found dead", True),
    (Slot.GONE, Slot.BACK, "is started again", True),
)
"""(from, to, what, whether it happens by itself)"""
ENDS_THE_PROCESS = {Slot.DEAD, Slot.GONE, Slot.BACK}
NAMES = "AB"


def worker_of(slot: int, status: Slot) -> Worker | None:
    """The process that lives there; None: none does."""
    if status not in ALIVE:
        return None
    name = NAMES[slot] + ("2" if status is Slot.BACK else "")
    return Worker(
        id=name, listed=status is not Slot.BURIED, trusting=status in (Slot.UP, Slot.BACK)
    )


class Broken(Exception):
    """Something happened that must not."""

    def __init__(self, what: str, way: list[str]) -> None:
        super().__init__(what)
        self.what, self.way = what, way


class TooMany(Exception):
    """There is more than was to be gone through; what was seen of it was well."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A move between known states of a run."""

    to: int
    helps: bool
    what: str


class Runs:
    """All states of one run that were met, and the moves between them."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._moves = plan, Moves(plan)
        self.states: list[State] = []
        self.wrong: dict[int, str] = {}  # by state
        self.settled: list[bool] = []
        self._known: dict[State, int] = {}
        self._common: dict[int, tuple[Edge, ...]] = {}
        self._recovered: dict[int, Edge | None] = {}
        self._of: dict[tuple[int, int, Slot], tuple[Edge, ...]] = {}
        self._dropped: dict[tuple[int, str], int] = {}
        self._swapped: dict[int, int] = {}
        self.wrong_edges: dict[tuple[int, int], str] = {}

    def number(self, state: State) -> int:
        """Under which a state is known, looked at if it is new."""
        known = self._known.get(state)
        if known is not None:
            return known
        kept = self._moves.let_go(state)
        if kept is not state:
            known = self._known[state] = self.number(kept)
            return known
        known = self._known[state] = len(self.states)
        self.states.append(state)
        self.settled.append(state.core.status in SETTLED)
        for what in wrong_state(self.plan, state):
            self.wrong.setdefault(known, what)
        return known

    def _edge(self, before: int, move: Move) -> Edge:
        to = self.number(move.after)
        for what in wrong_move(self.plan, self.states[before], move):
            self.wrong_edges.setdefault((before, to), what)
        return Edge(to, move.helps, move.what)

    def edges(self, number: int, slots: tuple[Slot, Slot]) -> Iterator[Edge]:
        """What can happen next to this run alone."""
        common = self._common.get(number)
        if common is None:
            found = self._moves.common(self.states[number])
            common = self._common[number] = tuple(self._edge(number, each) for each in found)
        yield from common
        for slot, status in enumerate(slots):
            key = (number, slot, status)
            theirs = self._of.get(key)
            if theirs is None:
                worker = worker_of(slot, status)
                moves = () if worker is None else self._moves.of(worker, self.states[number])
                theirs = self._of[key] = tuple(self._edge(number, each) for each in moves)
            yield from theirs
        taken = self.recovered(number)
        owner = self.states[number].owner
        if taken is not None and owner is not None and _has_no_row(owner, slots):
            yield taken

    def recovered(self, number: int) -> Edge | None:
        """The recovery pass finds its owner without a row."""
        if number not in self._recovered:
            move = self._moves.recovered(self.states[number])
            self._recovered[number] = None if move is None else self._edge(number, move)
        return self._recovered[number]

    def dropped(self, number: int, owner: str) -> int:
        """The run after a process has gone with everything that it had in hand."""
        key = (number, owner)
        if key not in self._dropped:
            state = self.states[number]
            left = tuple(each for each in state.drivers if each.owner != owner)
            self._dropped[key] = self.number(state._replace(drivers=left))
        return self._dropped[key]

    def swapped(self, number: int) -> int:
        """The run with the workers' names changed for each other."""
        if number not in self._swapped:
            state = self.states[number]
            drivers = (each._replace(owner=_other(each.owner)) for each in state.drivers)
            other = self.number(
                state._replace(
                    owner=None if state.owner is None else _other(state.owner),
                    drivers=in_order(drivers),
                )
            )
            self._swapped[number], self._swapped[other] = other, number
        return self._swapped[number]


def _has_no_row(owner: str, slots: tuple[Slot, Slot]) -> bool:
    return len(owner) == 1 and slots[NAMES.index(owner)] in _UNLISTED


def _other(owner: str) -> str:
    return ("B" if owner[0] == "A" else "A") + owner[1:]


@dataclass(kw_only=True)
class Explored:
    """What was met."""

    states: int = 0
    moves: int = 0
    run_states: int = 0
    settled: int = 0  # states in which all runs are
    stuck: int = 0  # states from which no end can be reached without new faults
    way_to_stuck: list[str] = field(default_factory=list)


Whole = tuple[int, ...]
"""Numbers of the runs' states in order, and then the two slots."""


class Explorer:
    """Of runs of a plan in the hands of two workers; a run for each budget."""

    def __init__(
        self, plan: Plan, budgets: Sequence[Budget], *,
        told: Callable[[int, int], None] = lambda states, left: None, runs: Runs | None = None,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """`runs`: of this plan, where others have explored some of it already."""
        self._most = most
        self.runs, self._count, self._told = runs or Runs(plan), len(budgets), told
        self._budgets = budgets
        self._known: dict[Whole, int] = {}
        self._order: list[Whole] = []
        self._came_from = array("l")
        # Moves that help, as pairs of numbers: by them an end has to be within reach.
        self._helps_from, self._helps_to = array("l"), array("l")

    def explore(self) -> Explored:
        """All of it. Raises TooMany, and Broken with the way to the first that must not be."""
        found = Explored()
        start = (self.runs.number(first(self.runs.plan, each)) for each in self._budgets)
        self._meet((*start, Slot.UP, Slot.UP), -1)
        at = 0
        while at < len(self._order):
            self._check(at)
            for after, helps, _, fault in self._next(self._order[at]):
                number = self._meet(after, at)
                found.moves += 1
                if fault:
                    raise Broken(fault, [*self._way(at), *self._last(at, fault)])
                if helps:
                    self._helps_from.append(at)
                    self._helps_to.append(number)
            at += 1
            if at % 100_000 == 0:
                self._told(at, len(self._order) - at)
        found.states, found.run_states = len(self._order), len(self.runs.states)
        self._count_ends(found)
        return found

    def alone(self) -> Iterator[tuple[int, tuple[Slot, Slot]]]:
        """What was met, of one run; of states that differ in names alone one."""
        for number, a, b in self._order:
            yield number, (Slot(a), Slot(b))

    def _check(self, at: int) -> None:
        for number in self._order[at][: self._count]:
            if number in self.runs.wrong:
                raise Broken(self.runs.wrong[number], self._way(at))

    def _meet(self, whole: Whole, came_from: int) -> int:
        plain = self._plain(whole)
        known = self._known.get(plain)
        if known is None:
            known = self._known[plain] = len(self._order)
            if self._most is not None and known >= self._most:
                raise TooMany(
                    f"stopped at {known:,} states, none of which is wrong; wanted all: allow more "
                    f"than {self._most:,} (--most) or give smaller budgets"
                )
            self._order.append(plain)
            self._came_from.append(came_from)
        return known

    def _plain(self, whole: Whole) -> Whole:
        """The one that stands for all that differ in names alone."""
        runs, a, b = whole[: self._count], whole[-2], whole[-1]
        one = (*sorted(runs), a, b)
        if a < b:
            return one
        other = (*sorted(self.runs.swapped(each) for each in runs), b, a)
        return min(one, other) if a == b else other

    def _next(self, whole: Whole) -> Iterator[tuple[Whole, bool, str, str]]:
        """(after, whether it happens by itself, what, what is wrong with it)"""
        slots = (Slot(whole[-2]), Slot(whole[-1]))
        wrong = self.runs.wrong_edges
        for place in range(self._count):
            if place and whole[place] == whole[place - 1]:
                continue  # of two runs that stand alike either may be the one that moves
            for edge in self.runs.edges(whole[place], slots):
                after = (*whole[:place], edge.to, *whole[place + 1 :])
                fault = wrong.get((whole[place], edge.to), "") if wrong else ""
                yield after, edge.helps, f"run {place + 1}: {edge.what}", fault
        for slot in (0, 1):
            for before, to, what, helps in FALLS:
                if slots[slot] is before:
                    yield self._fallen(whole, slot, to), helps, f"worker {NAMES[slot]} {what}", ""

    def _fallen(self, whole: Whole, slot: int, to: Slot) -> Whole:
        runs = whole[: self._count]
        if to in ENDS_THE_PROCESS:
            runs = tuple(self.runs.dropped(each, NAMES[slot]) for each in runs)
        a, b = (to, whole[-1]) if slot == 0 else (whole[-2], to)
        return (*runs, a, b)

    # --- ways and ends ----------------------------------------------------------------------------

    def _way(self, at: int) -> list[str]:
        """What led to a state, in words. Names may change on the way: A is whoever it was then."""
        line: list[int] = []
        while at >= 0:
            line.append(at)
            at = self._came_from[at]
        line.reverse()
        way = []
        for before, after in pairwise(line):
            wanted = self._order[after]
            way.append(next(
                what for to, _, what, _ in self._next(self._order[before])
                if self._plain(to) == wanted
            ))  # fmt: skip
        return way

    def _last(self, at: int, fault: str) -> list[str]:
        return [what for _, _, what, wrong in self._next(self._order[at]) if wrong == fault][:1]

    def _count_ends(self, found: Explored) -> None:
        """From every state an end is within reach by what happens by itself."""
        order, settled, count = self._order, self.runs.settled, self._count
        reached = bytearray(len(order))
        open_ones = [n for n, whole in enumerate(order) if all(settled[i] for i in whole[:count])]
        found.settled = len(open_ones)
        before: dict[int, list[int]] = {}
        for one, other in zip(self._helps_from, self._helps_to, strict=True):
            before.setdefault(other, []).append(one)
        for each in open_ones:
            reached[each] = 1
        while open_ones:
            for each in before.get(open_ones.pop(), ()):
                if not reached[each]:
                    reached[each] = 1
                    open_ones.append(each)
        found.stuck = len(order) - sum(reached)
        if found.stuck:
            found.way_to_stuck = self._way(reached.index(0))
