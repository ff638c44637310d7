"""The way of a run through its plan: which step stands at which position of its chain.

A run's chain is a list of visits. Position p of a saga is a visit of plan step `path.steps[p]`;
without jumps the two numbers are the same. A jump at p forgets what lay ahead of it, none of which
was begun, and lays out what follows now. A step that is met again is a new visit with an iteration
of its own, hence with its own request, idempotency key, outcome and undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from orchestrator.core.events import Move
from orchestrator.core.plan import Plan


@dataclass(frozen=True, slots=True)
class Path:
    """Plan steps by position, those that lie ahead included."""

    steps: tuple[int, ...]
    retried: tuple[int, ...] = ()  # positions at which an action wanted a step once more
    is_straight: bool = False  # each step of the plan in turn, as far as they follow each other

    def retries(self, position: int) -> int:
        """How many retries in a row, by actions that go through other steps, led to this visit."""
        count = 0
        while position in self.retried:
            count += 1
            position = _latest(self.steps[:position], self.steps[position])
        return count

    def jumped(self, plan: Plan, position: int, move: Move) -> Path | None:
        """The way after a move made at `position`; None when its retries are used up.

        What is retried has been visited: the step at `position`, or one that led to it. Whoever
        jumps on a detour, and stays within it, comes back from it all the same.
        """
        behind = self.steps[: position + 1]
        retried = tuple(place for place in self.retried if place <= position)
        if move.to is None:
            return Path(behind, retried)
        laid = chain(plan, move.to)
        if move.limit is not None:
            if self.retries(_latest(behind, move.to)) >= move.limit:
                return None
            via = () if move.via is None else tuple(range(move.via[0], move.via[1] + 1))
            laid, retried = via + laid, (*retried, position + 1 + len(via))
        back = next((place for place in self.retried if place > position), None)
        if back is None or self.steps[back - 1] != laid[-1]:
            return Path(behind + laid, retried)
        shift = position + 1 + len(laid) - back
        later = tuple(place + shift for place in self.retried if place >= back)
        return Path(behind + laid + self.steps[back:], retried + later)


def straight(plan: Plan) -> Path:
    """The way of a run that never jumps."""
    return _straight(len(chain(plan, 0)) if plan.steps else 0)


def chain(plan: Plan, first: int) -> tuple[int, ...]:
    """The steps that follow each other from `first` on, it included."""
    last = first
    while last + 1 < len(plan.steps) and not plan.steps[last].last:
        last += 1
    return tuple(range(first, last + 1))


@lru_cache(maxsize=1024)
def _straight(count: int) -> Path:
    return Path(tuple(range(count)), is_straight=True)


def _latest(steps: tuple[int, ...], step: int) -> int:
    return len(steps) - 1 - steps[::-1].index(step)
