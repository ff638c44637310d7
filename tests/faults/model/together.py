"""Several runs at once, worked out from one: the sets of what can be, not state by state.

Runs meet nowhere but in the workers that have them in hand, and no run does anything to a worker.
So the whole is a product: the workers' ways on their own, and each run on its own beside them. What
can be met together is, for each way the workers can go, every state that the first run can have
come to on that way with every state that the second can have. `Together` follows all of the
workers' ways and keeps for each the set of states of each run, as bits. A way is left once another
to the same place allows all that it does.

It takes nothing for granted that it can look at: each state of a run that it meets beside the
workers has to be one that was met when that run was explored alone (so what was looked at there has
been looked at here), and what is settled has to stay so by all that happens by itself (so runs that
can each settle, can settle all, one after the other). That two runs in one database do not meet in
the product's code either is looked at in `coupling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tests.faults.model.exploring import ENDS_THE_PROCESS, FALLS, NAMES, Explorer, Runs, Slot

Slots = tuple[Slot, Slot]
Set = npt.NDArray[np.bool_]
"""Of states of a run, by their numbers."""
Numbers = npt.NDArray[np.int64]


class NotAlone(Exception):
    """A run comes beside others to what it cannot come to alone: they are no product."""


@dataclass(kw_only=True)
class Met:
    """What several runs can come to at once."""

    runs: int
    ways: int  # of the workers, which differ in what they allow
    states: int = 0
    moves: int = 0
    plain_states: int | None = None  # names of workers and of runs aside; of two runs at most


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of the workers to where they are, and what each run can have come to on it."""

    slots: Slots
    packed: tuple[bytes, ...]  # a set for each budget


@dataclass
class _Graph:
    """What can happen to a run alone while both workers stay as they are."""

    known: Set
    before: Numbers
    after: Numbers

    @cached_property
    def out(self) -> Numbers:
        """How many moves lead from each state."""
        return np.bincount(self.before, minlength=len(self.known))


class Alone:
    """Runs of one plan, each explored alone with its budget, and what they can come to."""

    def __init__(self, runs: Runs, explored: Sequence[Explorer]) -> None:
        """`explored`: to their ends, and all by these `runs`."""
        self.runs = runs
        self._nodes = {each: None for explorer in explored for each in explorer.alone()}  # in order
        self._graphs = self._taken_over()

    def _taken_over(self) -> dict[Slots, _Graph]:
        """The moves by where the workers are, those with the workers' names changed included."""
        known: dict[Slots, set[int]] = {}
        pairs: dict[Slots, list[tuple[int, int]]] = {}
        for number, slots in self._nodes:
            moves = [(number, edge.to) for edge in self.runs.edges(number, slots)]
            self._keep_settled(number, slots)
            known.setdefault(slots, set()).add(number)
            pairs.setdefault(slots, []).extend(moves)
            other, swapped = (slots[1], slots[0]), self.runs.swapped
            mirrored = swapped(number)
            if other == slots and (mirrored == number or mirrored in known[slots]):
                continue
            known.setdefault(other, set()).add(mirrored)
            pairs.setdefault(other, []).extend((mirrored, swapped(to)) for _, to in moves)
        return {slots: self._graph(known[slots], pairs[slots]) for slots in known}

    def _graph(self, known: set[int], pairs: list[tuple[int, int]]) -> _Graph:
        there = np.zeros(self.size, dtype=np.bool_)
        there[list(known)] = True
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return _Graph(there, both[:, 0].copy(), both[:, 1].copy())

    @property
    def size(self) -> int:
        """How many states of a run have a number."""
        return len(self.runs.states)

    def _keep_settled(self, number: int, slots: Slots) -> None:
        """Raises NotAlone if a settled run goes on by itself, and another's end might be lost."""
        settled = self.runs.settled
        if settled[number]:
            for edge in self.runs.edges(number, slots):
                if edge.helps and not settled[edge.to]:
                    raise NotAlone(f"a settled run goes on by itself: {edge.what}")

    def closed(self, slots: Slots, begun: Set) -> Set:
        """All that a run can come to from these states while the workers stay as they are."""
        graph = self._graphs.get(slots)
        if graph is None:
            raise NotAlone(f"the workers come to {slots}, where they were not with a run alone")
        found = begun.copy()
        new = begun
        while new.any():
            to = graph.after[new[graph.before]]
            new = np.zeros_like(found)
            new[to] = True
            new &= ~found
            found |= new
        if (found & ~graph.known).any():
            raise NotAlone(f"with workers {slots} it comes to what it cannot come to alone")
        return found

    def fallen(self, states: Set, slot: int, to: Slot) -> Set:
        """The states after a change of a worker, which may take all that it has in hand with it."""
        if to not in ENDS_THE_PROCESS:
            return states
        left = np.zeros_like(states)
        left[[self.runs.dropped(int(n), NAMES[slot]) for n in np.flatnonzero(states)]] = True
        return left

    def out(self, slots: Slots) -> Numbers:
        """How many moves lead from each state of a run."""
        return self._graphs[slots].out

    def swapped(self, states: Set) -> Set:
        """With the workers' names changed for each other."""
        left = np.zeros_like(states)
        left[[self.runs.swapped(int(n)) for n in np.flatnonzero(states)]] = True
        return left

    def unchanged(self, states: Set) -> Set:
        """Those that look the same with the workers' names changed."""
        kept = [n for n in np.flatnonzero(states) if self.runs.swapped(int(n)) == n]
        left = np.zeros_like(states)
        left[kept] = True
        return left


class Together:
    """Runs of one plan in the hands of the same two workers."""

    def __init__(self, alone: Alone, starts: Sequence[int]) -> None:
        """`starts`: the state in which each run begins; runs that begin alike count as others."""
        self._alone, self._starts = alone, tuple(starts)
        self._kinds = tuple(dict.fromkeys(starts))
        self._ways: dict[Slots, list[_Way]] = {}

    def follow(self) -> Met:
        """All ways of the workers. Raises NotAlone if the runs are no product after all."""
        begun = []
        for number in self._kinds:
            one = np.zeros(self._alone.size, dtype=np.bool_)
            one[number] = True
            begun.append(one)
        open_ones = [self._way((Slot.UP, Slot.UP), begun)]
        self._ways[Slot.UP, Slot.UP] = [open_ones[0]]
        while open_ones:
            way = open_ones.pop()
            if way in self._ways[way.slots]:  # and not left for a wider one since
                open_ones += [each for each in self._next(way) if self._is_new(each)]
        return self._counted()

    def _way(self, slots: Slots, begun: Sequence[Set]) -> _Way:
        closed = (self._alone.closed(slots, each) for each in begun)
        return _Way(slots, tuple(np.packbits(each).tobytes() for each in closed))

    def _sets(self, way: _Way) -> list[Set]:
        size = self._alone.size
        return [
            np.unpackbits(np.frombuffer(each, dtype=np.uint8), count=size).astype(np.bool_)
            for each in way.packed
        ]

    def _next(self, way: _Way) -> Iterator[_Way]:
        sets = self._sets(way)
        for slot in (0, 1):
            for before, to, _, _ in FALLS:
                if way.slots[slot] is before:
                    slots = (to, way.slots[1]) if slot == 0 else (way.slots[0], to)
                    yield self._way(slots, [self._alone.fallen(each, slot, to) for each in sets])

    def _is_new(self, way: _Way) -> bool:
        """Whether no other way to the same place allows all of it; those of which it does go."""
        there = self._ways.setdefault(way.slots, [])
        if any(_is_within(way, each) for each in there):
            return False
        there[:] = [each for each in there if not _is_within(each, way)] + [way]
        return True

    # --- counting ---------------------------------------------------------------------------------

    def _counted(self) -> Met:
        found = Met(runs=len(self._starts), ways=sum(map(len, self._ways.values())))
        place = [self._kinds.index(each) for each in self._starts]
        for slots, ways in self._ways.items():
            boxes = [[sets[n] for n in place] for sets in map(self._sets, ways)]
            falls = sum(status is before for status in slots for before, *_ in FALLS)
            count = _Count(self._alone.out(slots), boxes)
            states, moves = count.of(frozenset(range(len(boxes))), 0)
            found.states += states
            found.moves += moves + falls * states
        if len(self._starts) <= 2:
            found.plain_states = self._plain(place)
        return found

    def _plain(self, place: Sequence[int]) -> int:
        """Of states that differ in names alone one: Burnside, over both kinds of names."""
        total = 0
        for slots, ways in self._ways.items():
            boxes = [[sets[n] for n in place] for sets in map(self._sets, ways)]
            boxes += [box[::-1] for box in boxes if len(set(place)) > 1]
            total += self._fixed(slots, boxes)
        kinds = 2 * len(place)
        assert total % kinds == 0, "each state was counted once for each way to name it"
        return total // kinds

    def _fixed(self, slots: Slots, boxes: list[list[Set]]) -> int:
        """How many states each change of names leaves as they are, in all."""
        total = volume(boxes)
        if slots[0] is slots[1]:
            total += volume([[self._alone.unchanged(each) for each in box] for box in boxes])
        if len(boxes[0]) == 2:
            total += volume([[one & other] for one, other in boxes])
            if slots[0] is slots[1]:
                total += volume([[one & self._alone.swapped(other)] for one, other in boxes])
        return total


def _is_within(one: _Way, other: _Way) -> bool:
    return all(
        int.from_bytes(mine) | int.from_bytes(theirs) == int.from_bytes(theirs)
        for mine, theirs in zip(one.packed, other.packed, strict=True)
    )


def volume(boxes: list[list[Set]]) -> int:
    """How many tuples are in at least one of the boxes; each box has a set for each run."""
    nothing = np.zeros(len(boxes[0][0]), dtype=np.int64)
    return _Count(nothing, boxes).of(frozenset(range(len(boxes))), 0)[0]


@dataclass
class _Count:
    """Of tuples that are in at least one of some boxes, and of the moves that lead from them."""

    out: Numbers
    boxes: list[list[Set]]
    _found: dict[tuple[frozenset[int], int], tuple[int, int]] = field(default_factory=dict)

    def of(self, among: frozenset[int], run: int) -> tuple[int, int]:
        """(tuples of the runs from this one on in some box of these, moves from those)"""
        if run == len(self.boxes[0]):
            return 1, 0
        known = self._found.get((among, run))
        if known is None:
            known = self._found[among, run] = self._worked_out(sorted(among), run)
        return known

    def _worked_out(self, among: list[int], run: int) -> tuple[int, int]:
        """By which of the boxes a state is in, since that decides what may stand beside it."""
        rows = np.stack([self.boxes[box][run] for box in among])
        met = np.flatnonzero(rows.any(axis=0))
        keys, which = np.unique(np.packbits(rows[:, met], axis=0).T, axis=0, return_inverse=True)
        sizes = np.bincount(which.ravel(), minlength=len(keys))
        outs = np.bincount(which.ravel(), weights=self.out[met], minlength=len(keys))
        states = moves = 0
        for key, size, out in zip(keys, sizes.tolist(), outs.tolist(), strict=True):
            inside = np.unpackbits(key, count=len(among))
            rest = frozenset(among[place] for place in np.flatnonzero(inside).tolist())
            beside, theirs = self.of(rest, run + 1)
            states += size * beside
            moves += size * theirs + int(out) * beside
        return states, moves
