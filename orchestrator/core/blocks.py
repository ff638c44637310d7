"""Parallel blocks: how a branch begins, what becomes of it, and one chain back through all of them.

A block is a step whose branches are chains of the same plan, each behind a head (`PlanStep.heads`)
and each in a run of its own. A branch never undoes anything: where another run would turn back, it
ends as it stands (`abandoned`), and what its block did is undone in one chain, by one run. That
chain's links are the visits of all branches that happened, in the order in which their completion
was recorded; going back, it keeps to the reverse of it like any other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.core.joining import own_steps
from orchestrator.core.path import Path, chain
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link, Saga, StepState
from orchestrator.core.states import HAPPENED, Direction, LinkStatus, RunStatus

FORK_METHOD, GIVEN_METHOD = "FORK", "GIVEN"
"""Of requests, in place of an HTTP method: what a block asks for, and what a branch was given."""
LIFTED = frozenset({FORK_METHOD, GIVEN_METHOD})
"""Outputs of such a link are those of other steps, by their ids."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """A visit of a branch, as its records have it."""

    branch: int  # which branch, in the order of the plan
    position: int  # in the chain of that branch
    step: int  # of the plan
    state: StepState
    finished_at: datetime | None  # when its completion was recorded, by the database's clock


def heads_of(plan: Plan, block: str) -> list[int]:
    """Indexes of the heads of a block's branches, in the order in which they were written."""
    return [index for index, step in enumerate(own_steps(plan)) if step.heads == block]


def branch_name(plan: Plan, head: int) -> str:
    """What the author calls a branch: the id of its head without that of its block."""
    step = plan.steps[head]
    return step.id.removeprefix(f"{step.heads}/")


def branch(plan: Plan, head: int, *, deadline_at: datetime | None = None) -> Saga:
    """A branch in which nothing has happened, but that its head says what it was given."""
    path = Path(chain(plan, head))
    given = StepState(forward=Link(status=LinkStatus.LANDED, attempts=1, sequence=1))
    return Saga(
        plan=plan, path=path, steps=(given, *(StepState() for _ in path.steps[1:])),
        deadline_at=deadline_at,
    )  # fmt: skip


def merged(branches: Sequence[Sequence[Visit]]) -> list[Visit]:
    """What happened in a block, earliest completion first, whichever branch it was in.

    Within a branch the run's own order holds, whatever a clock said; between branches it is the
    time of the record. Equal times are in the order of the plan, so that everybody who works it out
    finds the same.
    """
    return list(heapq.merge(*map(_in_order, branches), key=_place))


def turned_back(plan: Plan, order: Sequence[Visit], cause: str) -> Saga:
    """The saga that undoes a block: its visits in this order, going backward.

    What is undone already, by hand or by a person's word, stays so.
    """
    steps = tuple(
        StepState(forward=visit.state.forward.moved(
            visit.state.forward.status, doubt=False, sequence=place
        ), undo=visit.state.undo)
        for place, visit in enumerate(order, start=1)
    )  # fmt: skip
    return Saga(
        plan=plan, path=Path(tuple(visit.step for visit in order)), steps=steps, cause=cause,
        status=RunStatus.COMPENSATING, direction=Direction.BACKWARD,
    )  # fmt: skip


def _in_order(visits: Sequence[Visit]) -> Iterator[Visit]:
    happened = [visit for visit in visits if visit.state.forward.status in HAPPENED]
    happened.sort(key=lambda visit: visit.state.forward.sequence or 0)
    latest = _NEVER
    for visit in happened:
        latest = max(latest, visit.finished_at or latest)
        yield Visit(
            branch=visit.branch, position=visit.position, step=visit.step, state=visit.state,
            finished_at=latest,
        )  # fmt: skip


def _place(visit: Visit) -> tuple[datetime, int, int]:
    return visit.finished_at or _NEVER, visit.branch, visit.state.forward.sequence or 0
