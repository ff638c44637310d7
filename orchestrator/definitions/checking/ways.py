"""The ways through a workflow: which steps can follow which, and what is known before each.

A step that succeeds goes where its first matching `onSuccess` action says, or on to the next. One
that fails goes where an `onFailure` action says; else the run turns back, which is a way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.definitions.checking.reading import Action, Flow, Step

OUT = -1
"""Stands for the end of the run, whichever it is."""


@dataclass(frozen=True, slots=True)
class Way:
    """From one step to another, or out."""

    start: int
    end: int
    succeeded: bool  # whether the first step has landed, so that its outputs are there


class Ways:
    """The graph of one workflow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._index = {step.id: step.index for step in reversed(flow.steps)}
        self._ways = [way for step in flow.steps for way in self._of(step)]
        self.reached = self._reach(0) if flow.steps else set()
        self._surely = self._known(every_way=True)
        self._perhaps = self._known(every_way=False)

    def known_before(self, index: int) -> set[int]:
        """Steps that have landed on every way to this one."""
        return self._surely.get(index, set())

    def perhaps_before(self, index: int) -> set[int]:
        """Steps that have landed on some way to this one."""
        return self._perhaps.get(index, set())

    def known_at_end(self) -> set[int]:
        """Steps that have landed on every way that ends well."""
        return self.known_before(OUT)

    def perhaps_at_end(self) -> set[int]:
        """Steps that have landed on some way that ends well."""
        return self.perhaps_before(OUT)

    def without_a_way_out(self) -> list[int]:
        """Reachable steps from which no success and no handled failure leads out."""
        good = {OUT}
        changed = True
        while changed:
            more = {way.start for way in self._ways if way.end in good} - good
            good |= more
            changed = bool(more)
        return sorted(self.reached - good - {OUT})

    def is_straight(self) -> bool:
        """Whether every step leads to the next one, and nowhere else."""
        return all(way.end in (way.start + 1, OUT) for way in self._ways)

    # --- building ---------------------------------------------------------------------------------

    def _of(self, step: Step) -> Iterator[Way]:
        falls_through = True
        for action in step.on_success:
            yield from self._taken(step, action, succeeded=True)
            if always(action):
                falls_through = False
                break
        if falls_through:
            following = step.index + 1
            yield Way(step.index, following if following < len(self._flow.steps) else OUT, True)
        for action in step.on_failure:
            if action.kind != "end":  # the run turns back, and has no outputs
                yield from self._taken(step, action, succeeded=False)
            if always(action) and action.kind != "retry":
                break

    def _taken(self, step: Step, action: Action, *, succeeded: bool) -> Iterator[Way]:
        target = self._index.get(action.step) if action.step is not None else None
        if action.kind == "end" or (action.workflow is not None and action.kind == "goto"):
            yield Way(step.index, OUT, succeeded)
        elif action.kind == "goto" and target is not None:
            yield Way(step.index, target, succeeded)
        elif action.kind == "retry" and target is not None:
            yield Way(step.index, target, succeeded)
            yield Way(target, step.index, True)

    def _reach(self, start: int) -> set[int]:
        found, todo = {start}, [start]
        while todo:
            at = todo.pop()
            following = {way.end for way in self._ways if way.start == at} - found
            following |= self._needed(at) - found
            found |= following
            todo += [index for index in following if index != OUT]
        return found - {OUT}

    def _needed(self, index: int) -> set[int]:
        """Steps that run before this one because it depends on them."""
        if index == OUT:
            return set()
        names = self._flow.steps[index].depends_on
        return {self._index[name] for name in names if name in self._index}

    def _known(self, *, every_way: bool) -> dict[int, set[int]]:
        """Iterates until nothing changes; for every way it starts from "everything"."""
        whole = set(range(len(self._flow.steps)))
        known = {at: set(whole) if every_way else set() for at in (*whole, OUT)}
        known[0] = set()
        into: dict[int, list[Way]] = {}
        for way in self._ways:
            if way.start in self.reached:
                into.setdefault(way.end, []).append(way)
        changed = True
        while changed:
            changed = False
            for at, ways in into.items():
                new = self._joined(at, ways, known, every_way=every_way)
                if new != known[at]:
                    known[at], changed = new, True
        return known

    def _joined(
        self, at: int, ways: list[Way], known: dict[int, set[int]], *, every_way: bool
    ) -> set[int]:
        sets = [known[w.start] | ({w.start} if w.succeeded else set()) for w in ways]
        if at == 0:
            sets.append(set())  # the way from the beginning
        joined = set.intersection(*sets) if every_way else set.union(*sets)
        return joined | self._needed(at)


def always(action: Action) -> bool:
    """Whether it is taken whenever it is looked at."""
    return not action.criteria
