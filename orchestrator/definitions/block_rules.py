"""What a plan with parallel blocks keeps besides: branches do not reach into each other.

A branch is a run of its own, and what it did is undone with its block. So nothing in one leads out
of it or undoes what another did; no branch has the pivot, since the others may fail after it; and a
block lies before the pivot, or behind it on every way: so it is known whether it can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.core.blocks import heads_of
from orchestrator.core.plan import Plan
from orchestrator.definitions.actions import Places, levels_of
from orchestrator.definitions.blocks import MOST_BRANCHES, MOST_LEVELS, is_block
from orchestrator.definitions.flow import Flow, Joins
from orchestrator.definitions.problems import Findings, Path

_Place = Callable[[int, Path], str]


def find_block_problems(plan: Plan, flow: Flow, place: _Place, findings: Findings) -> None:
    """Note everything wrong with the blocks of a plan."""
    joins = Joins(plan)
    for index, step in enumerate(plan.steps):
        head = joins.branch_of(index)
        if is_block(step.call):
            _block(plan, flow, joins, index, place, findings)
        if step.pivot and head is not None and not step.heads:
            findings.add(
                place(index, ("x-pivot",)), f"the pivot in the branch {plan.steps[head].id}",
                "a pivot outside of all blocks: other branches may fail after it",
            )  # fmt: skip
        for other in step.undoes:
            undone = next((at for at, each in enumerate(plan.steps) if each.id == other), None)
            if undone is not None and joins.branch_of(undone) != head:
                findings.add(
                    place(index, ("x-undoes",)), f"{other}, which is in another chain",
                    "a step of the same branch: what a block did is undone with it",
                )  # fmt: skip
        for target in _targets(plan, index):
            if joins.branch_of(target) != head:
                findings.add(
                    place(index, ()), f"an action that leads to {plan.steps[target].id}",
                    "none that leads into a branch, or out of one",
                )  # fmt: skip


def _block(
    plan: Plan, flow: Flow, joins: Joins, index: int, place: _Place, findings: Findings
) -> None:
    step = plan.steps[index]
    branches = heads_of(plan, step.id)
    if not 2 <= len(branches) <= MOST_BRANCHES:
        findings.add(
            place(index, ("branches",)), f"{len(branches)} branches in the block {step.id}",
            f"2 to {MOST_BRANCHES} branches",
        )  # fmt: skip
    levels = _levels(plan, joins, index)
    if levels > MOST_LEVELS:
        findings.add(
            place(index, ()), f"a block with {levels - 1} around it", f"at most {MOST_LEVELS - 1}"
        )
    pivot = plan.pivot_index
    behind = pivot is not None and flow.known_at(index) >> pivot & 1
    if pivot is not None and flow.leads(pivot, index) and not behind:
        findings.add(
            place(index, ()),
            f"the block {step.id}, to which ways lead past the pivot {plan.steps[pivot].id}"
            " and behind it",
            "a block before the pivot, or behind it on every way",
        )  # fmt: skip


def _levels(plan: Plan, joins: Joins, index: int) -> int:
    """How many blocks a block is in, itself included."""
    levels, head = 1, joins.branch_of(index)
    while head is not None:
        outer = plan.steps[head].heads
        block = next(at for at, step in enumerate(plan.steps) if step.id == outer)
        levels, head = levels + 1, joins.branch_of(block)
    return levels


def _targets(plan: Plan, index: int) -> Iterator[int]:
    """Where a step's actions lead."""
    places, template = Places(plan), plan.steps[index].call.template
    for action in (*template.get("onSuccess", ()), *(a for lv in levels_of(template) for a in lv)):
        names = (action.get("step"), action.get("via"), action.get("again"))
        yield from (places.first(name) for name in names if name is not None)
