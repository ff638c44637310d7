"""Steps that begin several branches at once, and what undoes all that these did.

    kind: block
    fail: fast | collect                       what a branch that failed means for the others
    branches: {pay: fan/pay, stock: fan/stock} by name, the step of the plan that heads each
    given: {fan/pay: [reserve], …}             whose outputs each branch needs to know

    kind: undo-block                           undone by one run, see core/blocks

A head is a local step in front of its branch. Its outputs are those of the steps before the block,
by step; the outputs of the block are those of its branches' steps, likewise. Both count as outputs
of the steps themselves, so that expressions need not know of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from orchestrator.core.blocks import FORK_METHOD, branch_name, heads_of
from orchestrator.core.exchange import FrozenRequest, Judgement, Outcome
from orchestrator.core.path import chain
from orchestrator.core.plan import (
    CHILD,
    LOCAL,
    Call,
    Compensation,
    Effects,
    OnCancel,
    Plan,
    PlanStep,
)
from orchestrator.core.retry import NO_RETRY
from orchestrator.core.states import RunStatus
from orchestrator.definitions import encoding
from orchestrator.definitions.expressions import Expression
from orchestrator.definitions.problems import Path
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

KIND, UNDO_KIND = "block", "undo-block"
HEAD_ROLE = "branch"
MOST_BRANCHES = 100
MOST_LEVELS = 4
"""Of blocks within branches of blocks."""


class Fail(StrEnum):
    """What a branch that failed means for the others of its block."""

    FAST = "fast"  # they are cancelled, each at its next boundary
    COLLECT = "collect"  # they go on to their ends


def block_step(block: str, label: str, branches: Sequence[str], fail: Fail) -> PlanStep:
    """The step that begins branches of these names; `with_given` completes it."""
    template = {
        "kind": KIND, "fail": str(fail), "given": {},
        "branches": {name: head_id(block, name) for name in branches},
    }  # fmt: skip
    call = Call(
        label=label, api=CHILD, effects=Effects.KEYED, retry=NO_RETRY, template=template,
        on_cancel=OnCancel.CANCEL,
    )  # fmt: skip
    undo = Call(
        label=f"{label}.undo", api=CHILD, effects=Effects.KEYED, retry=NO_RETRY,
        template={"kind": UNDO_KIND}, on_cancel=OnCancel.WAIT,
    )  # fmt: skip
    return PlanStep(id=block, call=call, compensation=Compensation(call=undo))


def head_step(block: str, name: str, label: str) -> PlanStep:
    """Where a branch begins."""
    call = Call(
        label=label, api=LOCAL, effects=Effects.NONE, retry=NO_RETRY,
        template={"kind": "local", "role": HEAD_ROLE},
    )  # fmt: skip
    return PlanStep(id=head_id(block, name), call=call, heads=block)


def head_id(block: str, name: str) -> str:
    """The id of the step that heads a branch."""
    return f"{block}/{name}"


def is_block(call: Call) -> bool:
    """Whether it begins branches."""
    return call.template.get("kind") == KIND


def is_head(call: Call) -> bool:
    """Whether a branch begins with it."""
    return call.template.get("role") == HEAD_ROLE


def branches_of(plan: Plan) -> dict[int, tuple[int, ...]]:
    """By the index of a head, its branch: the indexes of its steps, the head first."""
    return {at: chain(plan, at) for at, step in enumerate(plan.steps) if step.heads}


def in_sequence(plan: Plan) -> list[int]:
    """Indexes of all steps, branches behind their blocks: nothing comes before what it uses."""
    inner = {at for steps in branches_of(plan).values() for at in steps} if plan.blocks else set()
    found: list[int] = []

    def add(at: int) -> None:
        found.append(at)
        step = plan.steps[at]
        for head in heads_of(plan, step.id) if is_block(step.call) else ():
            for each in chain(plan, head):
                add(each)

    for at in range(len(plan.steps)):
        if at not in inner:
            add(at)
    return found


def members_of(plan: Plan, block: str) -> list[str]:
    """Ids of the steps whose outputs a block gives: those of its branches, inner blocks' too."""
    found: list[str] = []
    for head in heads_of(plan, block):
        for at in chain(plan, head)[1:]:
            step = plan.steps[at]
            found += members_of(plan, step.id) if is_block(step.call) else [step.id]
    return found


def with_given(plan: Plan, used: Callable[[PlanStep], set[str]]) -> Plan:
    """The plan whose blocks say what each branch needs to know; `used`: by a step, ids of steps."""
    if not plan.blocks:
        return plan
    needed = {at: _needed(plan, at, used) for at in branches_of(plan)}
    order = {step.id: at for at, step in enumerate(plan.steps)}

    def completed(step: PlanStep) -> PlanStep:
        if not is_block(step.call):
            return step
        given = {
            plan.steps[head].id: sorted(needed[head] & order.keys(), key=order.__getitem__)
            for head in heads_of(plan, step.id)
        }
        template = {**step.call.template, "given": given}
        return replace(step, call=replace(step.call, template=template))

    return replace(plan, steps=tuple(completed(step) for step in plan.steps))


def _needed(plan: Plan, head: int, used: Callable[[PlanStep], set[str]]) -> set[str]:
    own, names = set[str](), set[str]()
    for at in chain(plan, head)[1:]:
        step = plan.steps[at]
        own.add(step.id)
        if is_block(step.call):
            own.update(members_of(plan, step.id))
            for inner in heads_of(plan, step.id):
                names |= _needed(plan, inner, used)
        else:
            names |= used(step)
    return names - own


class BlockRequest:
    """What is asked of the branches: for each, the outputs of the steps that it needs to know."""

    def __init__(self, call: Call) -> None:
        self._given: Mapping[str, Sequence[str]] = call.template.get("given", {})

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """Steps that gave nothing, since they were left out on the way, are not in it."""
        known = scope.facts.outputs
        told = {
            head: {name: dict(known[name]) for name in names if name in known}
            for head, names in self._given.items()
        }
        body = encoding.json_body(told)
        return FrozenRequest(method=FORK_METHOD, target="", body=body, key=key)

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """It has no parameters."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """None: what the branches' steps use is held against what they can know."""
        return iter(())


def judgement_of(answer: Mapping[str, Any]) -> Judgement:
    """How a block ended, by how its branches did.

    It has landed however that is: what some of them did is undone with it, where not all succeeded.
    """
    runs: Sequence[Mapping[str, Any]] = answer["runs"]
    outputs: dict[str, Any] = {}
    for run in runs:
        outputs |= run["outputs"] or {}
    failed = [run for run in runs if run["status"] != RunStatus.SUCCEEDED]
    if not failed:
        return Judgement(outcome=Outcome.LANDED, outputs=outputs, reason="all branches succeeded")
    told = [run for run in failed if not run.get("cancelled")] or failed
    reason = "; ".join(f"branch {run['branch']} failed: {_why(run)}" for run in told)
    return Judgement(outcome=Outcome.LANDED, accepted=False, outputs=outputs, reason=reason)


def _why(run: Mapping[str, Any]) -> str:
    return run["cause"] or f"it ended {run['status']}"


def shown_name(plan: Plan, head: int) -> str:
    """`block/branch`, as rows have it."""
    return head_id(plan.steps[head].heads, branch_name(plan, head))
