"""Runs that go on by another version of their workflow: one plan of both, and the move itself.

A joined plan has the steps of the version that a run goes on by, under their own numbers, and
behind them those of what it followed before. Nothing leads from the first to the latter: they are
there for the visits that the run has made, so that each is undone by what its own version promised.
A plan may be joined again; then what stands behind is a joined plan itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from orchestrator.core.events import Migrated
from orchestrator.core.path import Path, chain
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.saga import Link, Saga, StepState, begun, current
from orchestrator.core.states import Direction, LinkStatus, RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedPlan(Plan):
    """The plan of a run that was moved: `steps` are its own, and then all of `before`."""

    before: Plan
    versions: tuple[int, ...]  # of the workflow, by step


def joined(new: Plan, version: int, before: Plan, version_before: int) -> JoinedPlan:
    """One plan of both. `version_before` is what `before` is of, unless it says so itself.

    It is never stored: who has both can make it, and it is always the same.
    """
    # What stands behind follows nothing. An outline may have no steps.
    last = tuple(replace(step, last=True) for step in new.steps[-1:])
    own = {field.name: getattr(new, field.name) for field in fields(Plan)}
    known = before.versions if isinstance(before, JoinedPlan) else None
    digests = f"{new.digest}\n{before.digest}"
    own |= {
        "steps": (*new.steps[:-1], *last, *before.steps),
        # Without one a plan is an outline of what cannot be read.
        "digest": hashlib.sha256(digests.encode()).hexdigest()
        if new.digest and before.digest else "",
        "jumps": new.jumps or before.jumps, "waits": new.waits or before.waits,
        "children": new.children or before.children, "blocks": new.blocks or before.blocks,
        "maps": new.maps or before.maps,
    }  # fmt: skip
    versions = (version,) * len(new.steps) + (known or (version_before,) * len(before.steps))
    return JoinedPlan(**own, before=before, versions=versions)


def joined_id(workflow_id: str, before: str) -> str:
    """Names a joined definition by the versions in it, newest first."""
    return f"{workflow_id}{_AND}{before}"


def ids_in(workflow_id: str) -> list[str]:
    """The versions that a definition is joined of, newest first; itself, where it is one."""
    return workflow_id.split(_AND)


_AND = "+"


def own_steps(plan: Plan) -> tuple[PlanStep, ...]:
    """The steps by which a run goes on: all of a plan that is not joined."""
    return plan.steps[: own_count(plan)]


def own_count(plan: Plan) -> int:
    """How many they are."""
    behind = len(plan.before.steps) if isinstance(plan, JoinedPlan) else 0
    return len(plan.steps) - behind


def plans_of(plan: Plan) -> Iterator[Plan]:
    """It, and what it was joined to, newest first."""
    while isinstance(plan, JoinedPlan):
        yield plan
        plan = plan.before
    yield plan


def migrated(saga: Saga, event: Migrated) -> Saga:
    """A run that waits on its way forward, going on by `event.plan` at a step of it.

    What it has done keeps its place, its numbers of plan steps are those behind the new ones. A
    step that was begun, and is not kept, had no effect: it counts as handled, as where an action of
    its author's leads elsewhere, so that its key is never that of another request.
    """
    plan, at = event.plan, current(saga)
    assert plan is not None, "a journal's event is given what it names"
    assert at is not None, "who asks has looked"
    position, shift, link = at[0], own_count(plan), saga.link(*at)
    behind = saga.steps[:position]
    if begun(link) and not event.keeps:
        behind += (StepState(forward=Link(
            status=LinkStatus.HANDLED, attempts=link.attempts,
            first_started_at=link.first_started_at,
        )),)  # fmt: skip
    laid = chain(plan, event.step)
    ahead = (StepState(forward=link) if event.keeps else StepState(),)
    path = Path(
        tuple(step + shift for step in saga.path.steps[: len(behind)]) + laid,
        tuple(place for place in saga.path.retried if place < position),
    )
    going = saga.status if event.keeps or saga.status is RunStatus.PAUSED else RunStatus.RUNNING
    return replace(
        saga, plan=plan, path=path, status=going,
        steps=behind + ahead + (StepState(),) * (len(laid) - 1),
        wake_at=saga.wake_at if event.keeps else None,
    )  # fmt: skip


def why_not_movable(saga: Saga) -> str:
    """What stands against moving this run now, as it was found; empty: nothing.

    It has to wait at a boundary, on its way forward, with nothing in doubt.
    """
    at = current(saga)
    if saga.status not in MOVABLE or saga.direction is Direction.BACKWARD or at is None:
        return f"{saga.status}, going {saga.direction}"
    if saga.cancel is not None:
        return "it is to be cancelled"
    if saga.link(*at).status is not LinkStatus.PENDING:
        return f"step {saga.plan_step(at[0]).id} is {saga.link(*at).status}"
    for place, state in enumerate(saga.steps):
        if state.forward.doubt or state.undo.doubt:
            return f"step {saga.plan_step(place).id} is in doubt"
    return ""


MOVABLE = frozenset({RunStatus.WAITING, RunStatus.PARKED, RunStatus.PAUSED})
