"""Where the steps of a plan may lead, and what is known for certain when each begins.

A detour comes back with all that was known when it began, so its way back says nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.core.plan import Plan
from orchestrator.definitions.actions import Places, levels_of
from orchestrator.definitions.graph import END, Edge, Graph


class Flow:
    """The graph of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._places = plan, Places(plan)
        count = len(plan.steps)
        self._graph = Graph(count, (edge for step in range(count) for edge in self._edges(step)))

    def known_at(self, step: int) -> int:
        """The set of steps that have landed whenever this one begins; see `Graph.surely`."""
        return self._graph.surely(step)

    def unreached(self) -> list[int]:
        """Steps to which nothing leads."""
        return sorted(set(range(len(self._plan.steps))) - self._graph.reached)

    def endless(self) -> list[int]:
        """Steps from which no way leads to an end, be it that none of them ever fails for good."""
        return self._graph.endless()

    def leads(self, start: int, to: int) -> bool:
        """Whether a way leads from one step to the other."""
        return self._graph.leads(start, to)

    def _edges(self, step: int) -> Iterator[Edge]:
        template = self._plan.steps[step].call.template
        for action in template.get("onSuccess", ()):
            yield Edge(step, self._target(action), landed=True)
            if not action.get("criteria"):
                break
        else:
            last = self._plan.steps[step].last or step + 1 == len(self._plan.steps)
            yield Edge(step, END if last else step + 1, landed=True)
        for level in levels_of(template):
            yield from self._failing(step, level)
            if any(_is_final(action) and action["type"] != "end" for action in level):
                break  # what is handled here never fails further out

    def _failing(self, step: int, level: Sequence[Mapping[str, Any]]) -> Iterator[Edge]:
        for action in level:
            kind = action.get("type", "retry")
            if kind == "retry" and "again" in action:
                via = action.get("via")
                yield Edge(step, self._places.first(via or action["again"]), landed=False)
            elif kind in ("goto", "return"):
                yield Edge(step, self._target(action), landed=False)
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


def _is_final(action: Mapping[str, Any]) -> bool:
    """Whether no action after it has a turn."""
    return not action.get("criteria") and action.get("type", "retry") != "retry"
