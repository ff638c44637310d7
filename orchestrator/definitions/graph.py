"""Steps that lead to each other: which are reached, which never end, what is known at each.

Sets of steps are whole numbers, a bit for each: step i is in the set s when `s >> i & 1`. What a
step gave is never forgotten, so along each way the set only grows. What is surely known at a step
is what all ways to it have in common (a "must" analysis), what is perhaps known is what any of them
brings (a "may" analysis); both are repeated until nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

END = -1
"""Stands for the end of a run."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One way to go on after a step."""

    start: int
    to: int  # a step, or END
    landed: bool  # whether the first step has given its outputs then


class Graph:
    """The ways through `count` steps from `start` on.

    `needed`: by step, the set of those that have landed before it begins, whatever led to it.
    """

    def __init__(
        self, count: int, edges: Iterable[Edge], needed: Mapping[int, int] | None = None, *,
        start: int = 0,
    ) -> None:  # fmt: skip
        self._count, self._needed, self._start = count, needed or {}, start
        self._out: list[list[Edge]] = [[] for _ in range(count)]
        for edge in edges:
            self._out[edge.start].append(edge)

    # --- reaching ---------------------------------------------------------------------------------

    @cached_property
    def reached(self) -> frozenset[int]:
        """Steps that some way leads to, or that one of these needs."""
        return self._reach([self._start], with_needed=True) if self._count else frozenset()

    def leads(self, start: int, to: int) -> bool:
        """Whether a way leads from one step to the other."""
        return to in self._reach([edge.to for edge in self._out[start]])

    def endless(self) -> list[int]:
        """Reached steps from which no way leads to an end."""
        into: dict[int, set[int]] = {}
        for edges in self._out:
            for edge in edges:
                into.setdefault(edge.to, set()).add(edge.start)
        ends, todo = {END}, [END]
        while todo:
            more = into.get(todo.pop(), set()) - ends
            ends |= more
            todo += more
        return sorted(self.reached - ends)

    def _reach(self, start: list[int], *, with_needed: bool = False) -> frozenset[int]:
        found, todo = set(start), list(start)
        while todo:
            at = todo.pop()
            if at == END:
                continue
            more = {edge.to for edge in self._out[at]}
            if with_needed:
                more |= members(self._needed.get(at, 0))
            todo += more - found
            found |= more
        return frozenset(found - {END})

    # --- knowing ----------------------------------------------------------------------------------

    def surely(self, step: int) -> int:
        """The steps that have landed whenever this one begins; all, where nothing leads to it.

        Of END: on every way that ends.
        """
        return self._surely[step]

    def perhaps(self, step: int) -> int:
        """The steps that have landed on some way to this one."""
        return self._perhaps[step]

    @cached_property
    def _surely(self) -> dict[int, int]:
        return self._spread(every_way=True)

    @cached_property
    def _perhaps(self) -> dict[int, int]:
        return self._spread(every_way=False)

    def _spread(self, *, every_way: bool) -> dict[int, int]:
        everything = (1 << self._count) - 1
        known = dict.fromkeys((*range(self._count), END), everything if every_way else 0)
        known[self._start] = 0
        todo = sorted(self.reached)
        while todo:
            step = todo.pop()
            for edge in self._out[step]:
                brought = known[step] | (1 << step if edge.landed else 0)
                joined = known[edge.to] & brought if every_way else known[edge.to] | brought
                joined |= self._needed.get(edge.to, 0)
                if joined != known[edge.to]:
                    known[edge.to] = joined
                    if edge.to != END:
                        todo.append(edge.to)
        return known


def members(steps: int) -> set[int]:
    """The steps of a set."""
    return {index for index in range(steps.bit_length()) if steps >> index & 1}


def set_of(steps: Iterable[int]) -> int:
    """The set of some steps."""
    found = 0
    for step in steps:
        found |= 1 << step
    return found
