"""Where the steps of a plan may lead, and what is known for certain when each begins.

Sets of steps are whole numbers, a bit for each: step i is in the set s when `s >> i & 1`. What a
step gave is never forgotten, so along each way the set only grows, and what is known at a step is
what all ways to it have in common (a "must" analysis, repeated until nothing changes). A detour
comes back with all that was known when it began, so its way back says nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.plan import Plan
from orchestrator.definitions.actions import Places, levels_of

END = -1
"""Stands for the end of a run."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One way to go on after a step."""

    to: int  # a plan step, or END
    landed: bool  # whether the step has given its outputs then


class Flow:
    """The graph of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._places = plan, Places(plan)
        self._edges = [tuple(self._of(index)) for index in range(len(plan.steps))]
        self._known = self._must_know()

    def known_at(self, step: int) -> int:
        """The steps that have landed whenever this one begins; all, where nothing leads to it."""
        return self._known[step]

    def unreached(self) -> list[int]:
        """Steps to which nothing leads."""
        seen = self._reach({0}, self._forward())
        return [step for step in range(len(self._plan.steps)) if step not in seen]

    def endless(self) -> list[int]:
        """Steps from which no way leads to an end, be it that none of them ever fails for good."""
        backward: dict[int, set[int]] = {}
        for step, ways in self._forward().items():
            for to in ways:
                backward.setdefault(to, set()).add(step)
        ends = self._reach({END}, backward)
        reached = self._reach({0}, self._forward())
        return sorted(step for step in reached if step not in ends)

    def leads(self, start: int, to: int) -> bool:
        """Whether a way leads from one step to the other."""
        ways = self._forward()
        return to in self._reach(set(ways.get(start, ())), ways)

    # --- edges ------------------------------------------------------------------------------------

    def _of(self, step: int) -> Iterator[Edge]:
        template = self._plan.steps[step].call.template
        for action in template.get("onSuccess", ()):
            yield Edge(self._target(action), landed=True)
            if not action.get("criteria"):
                break
        else:
            last = self._plan.steps[step].last or step + 1 == len(self._plan.steps)
            yield Edge(END if last else step + 1, landed=True)
        for level in levels_of(template):
            yield from self._failing(level)
            if any(_is_final(action) and action["type"] != "end" for action in level):
                break  # what is handled here never fails further out

    def _failing(self, level: Sequence[Mapping[str, Any]]) -> Iterator[Edge]:
        for action in level:
            kind = action.get("type", "retry")
            if kind == "retry" and "again" in action:
                via = action.get("via")
                yield Edge(self._places.first(via or action["again"]), landed=False)
            elif kind in ("goto", "return"):
                yield Edge(self._target(action), landed=False)
            if _is_final(action):
                return

    def _target(self, action: Mapping[str, Any]) -> int:
        match action["type"]:
            case "goto":
                return self._places.first(action["step"])
            case "return":
                return self._places.last(action["step"])
            case _:
                return END

    # --- analyses ---------------------------------------------------------------------------------

    def _must_know(self) -> list[int]:
        count = len(self._plan.steps)
        everything = (1 << count) - 1
        known = [everything] * count
        if not count:
            return known
        known[0] = 0
        todo = [0]
        seen = {0}
        while todo:
            step = todo.pop()
            for edge in self._edges[step]:
                if edge.to == END:
                    continue
                brought = known[step] | (1 << step if edge.landed else 0)
                common = known[edge.to] & brought
                if common != known[edge.to] or edge.to not in seen:
                    known[edge.to] = common
                    seen.add(edge.to)
                    todo.append(edge.to)
        return known

    def _forward(self) -> dict[int, set[int]]:
        return {
            step: {edge.to for edge in self._edges[step]} for step in range(len(self._plan.steps))
        }

    @staticmethod
    def _reach(start: set[int], ways: Mapping[int, set[int]]) -> set[int]:
        seen, todo = set(start), list(start)
        while todo:
            for to in ways.get(todo.pop(), ()):
                if to not in seen:
                    seen.add(to)
                    todo.append(to)
        return seen


def _is_final(action: Mapping[str, Any]) -> bool:
    """Whether no action after it has a turn."""
    return not action.get("criteria") and action.get("type", "retry") != "retry"
