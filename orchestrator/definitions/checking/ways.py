"""The ways through a workflow: which steps can follow which, and what is known before each.

A step that succeeds goes where its first matching `onSuccess` action says, or on to the next. One
that fails goes where an `onFailure` action says; else the run turns back, which is a way out.

This is of a document as it was written, which may never become a plan; `definitions/flow.py` is of
a plan, in which called workflows are inlined.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definitions.checking.reading import Action, Flow, Step
from orchestrator.definitions.graph import END, Edge, Graph, members, set_of


class Ways:
    """The graph of one workflow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._index = {step.id: step.index for step in reversed(flow.steps)}
        self._edges = [edge for step in flow.steps for edge in self._of(step)]
        needed = {step.index: set_of(self._needed(step)) for step in flow.steps}
        self._graph = Graph(len(flow.steps), self._edges, needed)
        self.reached = self._graph.reached

    def known_before(self, index: int) -> set[int]:
        """Steps that have landed on every way to this one."""
        return members(self._graph.surely(index))

    def perhaps_before(self, index: int) -> set[int]:
        """Steps that have landed on some way to this one."""
        return members(self._graph.perhaps(index))

    def known_at_end(self) -> set[int]:
        """Steps that have landed on every way that ends well."""
        return self.known_before(END)

    def perhaps_at_end(self) -> set[int]:
        """Steps that have landed on some way that ends well."""
        return self.perhaps_before(END)

    def without_a_way_out(self) -> list[int]:
        """Reachable steps from which no success and no handled failure leads out."""
        return self._graph.endless()

    def is_straight(self) -> bool:
        """Whether every step leads to the next one, and nowhere else."""
        return all(edge.to in (edge.start + 1, END) for edge in self._edges)

    # --- building ---------------------------------------------------------------------------------

    def _needed(self, step: Step) -> Iterator[int]:
        """Steps that run before this one because it depends on them."""
        return (self._index[name] for name in step.depends_on if name in self._index)

    def _of(self, step: Step) -> Iterator[Edge]:
        falls_through = True
        for action in step.on_success:
            yield from self._taken(step, action, succeeded=True)
            if always(action):
                falls_through = False
                break
        if falls_through:
            following = step.index + 1
            yield Edge(step.index, following if following < len(self._flow.steps) else END, True)
        for action in step.on_failure:
            if action.kind != "end":  # the run turns back, and has no outputs
                yield from self._taken(step, action, succeeded=False)
            if always(action) and action.kind != "retry":
                break

    def _taken(self, step: Step, action: Action, *, succeeded: bool) -> Iterator[Edge]:
        target = self._index.get(action.step) if action.step is not None else None
        if action.kind == "end" or (action.workflow is not None and action.kind == "goto"):
            yield Edge(step.index, END, succeeded)
        elif action.kind == "goto" and target is not None:
            yield Edge(step.index, target, succeeded)
        elif action.kind == "retry" and target is not None:
            yield Edge(step.index, target, succeeded)
            yield Edge(target, step.index, True)


def always(action: Action) -> bool:
    """Whether it is taken whenever it is looked at."""
    return not action.criteria
