"""Which APIs runs of a workflow come to, in the runs that its steps begin as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.core.blocks import heads_of
from orchestrator.core.impact import Reach, reach_of
from orchestrator.core.path import chain
from orchestrator.core.plan import CHILD, Call, Plan
from orchestrator.definitions.blocks import is_block
from orchestrator.definitions.children import begun_by
from orchestrator.definitions.maps import is_map

_Known = Mapping[tuple[str, str], Plan]
"""Plans by workflow and digest."""


def whole_reach(plan: Plan, known: _Known) -> Reach:
    """With that of branches, children and items; `known` has the plans of the runs it begins.

    One that is not there is taken to call nothing.
    """
    return _Reading(plan, known).whole() if plan.children else reach_of(plan)


class _Reading:
    def __init__(self, plan: Plan, known: _Known) -> None:
        self._plan, self._known, self._own = plan, known, reach_of(plan)

    def whole(self) -> Reach:
        steps = range(len(self._plan.steps))
        begins = {step for step in steps if self._plan.steps[step].call.is_child}
        return Reach(
            forward=tuple(self._forward(step) for step in steps),
            backward=tuple(self._backward(step) for step in steps),
            begins=frozenset(begins),
            in_turn=frozenset(step for step in begins if is_map(self._plan.steps[step].call)),
        )

    def _forward(self, step: int) -> frozenset[str]:
        parts = [self._forward(inner) for inner in self._branches(step)]
        called = self._called(self._plan.steps[step].call)
        own = self._own.forward[step] - {CHILD}
        return own.union(*parts, *(called.forward if called else ()))

    def _backward(self, step: int) -> frozenset[str]:
        """An undo that is a run undoes what the runs of the step did."""
        undo = self._plan.steps[step].compensation
        by_runs = undo is not None and any(call.is_child for call in undo.calls)
        if not by_runs:
            return self._own.backward[step]
        parts = [self._backward(inner) for inner in self._branches(step)]
        called = self._called(self._plan.steps[step].call)
        own = self._own.backward[step] - {CHILD}
        return own.union(*parts, *(called.backward if called else ()))

    def _branches(self, step: int) -> Iterator[int]:
        """The steps of a block's branches."""
        plan = self._plan
        if is_block(plan.steps[step].call):
            for head in heads_of(plan, plan.steps[step].id):
                yield from chain(plan, head)[1:]

    def _called(self, call: Call) -> Reach | None:
        """That of the runs of another workflow."""
        begun = begun_by(call)
        plan = None if begun is None else self._known.get(begun)
        return None if plan is None else whole_reach(plan, self._known)
