"""Where the steps of a plan may lead, and what is known for certain when each begins.

A detour comes back with all that was known when it began, so its way back says nothing new. A
block leads to each of its branches, which know what it knows and nothing of each other; at its
join, what each of them has brought to its end is known, and from there the chain goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.core.blocks import heads_of
from orchestrator.core.plan import Plan
from orchestrator.definitions.actions import Places, levels_of
from orchestrator.definitions.blocks import branches_of, is_block
from orchestrator.definitions.graph import END, Edge, Graph


class Flow:
    """The graph of a plan from one of its steps on, the first unless another is named."""

    def __init__(self, plan: Plan, *, start: int = 0) -> None:
        self._plan, self._places = plan, Places(plan)
        self._joins = Joins(plan)
        count = len(plan.steps)
        edges = [edge for step in range(count) for edge in self._edges(step)]
        self._graph = (
            self._joins.graph(edges, start) if plan.blocks else Graph(count, edges, start=start)
        )

    def known_at(self, step: int) -> int:
        """The set of steps that have landed whenever this one begins; see `Graph.surely`."""
        return self._graph.surely(step)

    def reached(self) -> list[int]:
        """Steps to which something leads, in order of the plan."""
        return sorted(step for step in self._graph.reached if step < len(self._plan.steps))

    def unreached(self) -> list[int]:
        """Steps to which nothing leads."""
        return sorted(set(range(len(self._plan.steps))) - self._graph.reached)

    def endless(self) -> list[int]:
        """Steps from which no way leads to an end, be it that none of them ever fails for good."""
        return [step for step in self._graph.endless() if step < len(self._plan.steps)]

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


class Joins:
    """Of a plan's blocks: nodes behind its steps, at which branches end and come together."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._branches = branches_of(plan)
        self._ends = {head: len(plan.steps) + n for n, head in enumerate(self._branches)}
        self._of = {step: head for head, steps in self._branches.items() for step in steps}
        blocks = [at for at, step in enumerate(plan.steps) if is_block(step.call)]
        first = len(plan.steps) + len(self._ends)
        self._joins = {block: first + n for n, block in enumerate(blocks)}

    def graph(self, edges: Sequence[Edge], start: int = 0) -> Graph:
        """With these edges of the steps, each as if there were no blocks."""
        made = [self._within(edge) for edge in edges]
        for block, join in self._joins.items():
            heads = heads_of(self._plan, self._plan.steps[block].id)
            made += [Edge(block, head, landed=False) for head in heads]
            made += [Edge(self._ends[head], join, landed=False) for head in heads]
        count = len(self._plan.steps) + len(self._ends) + len(self._joins)
        needed: dict[int, int] = {}
        while True:  # inner joins first: what they bring is known at the ends of outer branches
            graph = Graph(count, made, needed, start=start)
            more = {join: self._brought(block, graph) for block, join in self._joins.items()}
            if more == needed:
                return graph
            needed = more

    def branch_of(self, step: int) -> int | None:
        """The head of the branch in which a step is; None: it is in none."""
        return self._of.get(step)

    def _within(self, edge: Edge) -> Edge:
        """From a block on from its join; to an end: to that of its branch."""
        head = self._of.get(edge.start)
        to = self._ends[head] if edge.to == END and head is not None else edge.to
        join = self._joins.get(edge.start)
        return Edge(edge.start, to, edge.landed) if join is None else Edge(join, to, landed=False)

    def _brought(self, block: int, graph: Graph) -> int:
        """What has landed once all branches have ended: theirs, and the block itself."""
        known = 1 << block
        for head in heads_of(self._plan, self._plan.steps[block].id):
            known |= graph.surely(self._ends[head])
        return known


def _is_final(action: Mapping[str, Any]) -> bool:
    """Whether no action after it has a turn."""
    return not action.get("criteria") and action.get("type", "retry") != "retry"
