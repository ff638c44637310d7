"""Whom an API touches: what each run that is under way has had, has and may have to do with it.

Everything is said of the run as it is recorded now, and of its way as it is laid out now: where an
author may still lead it elsewhere, the straight way counts. What a step begins (branches, a child,
items) is ahead of its run until that has begun, and then stands for itself; of a map it is ahead as
long as the run stands there, since items begin one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.core.path import Path, straight
from orchestrator.core.plan import Call, Plan
from orchestrator.core.saga import Link, Saga, StepState, current, undo_order, undone_by_hand
from orchestrator.core.states import DONE, HAPPENED, Direction, LinkStatus, RunStatus


@dataclass(frozen=True, slots=True)
class Touch:
    """How one API touches one run."""

    blocked: bool = False  # the link at which it stands calls it: it cannot go on without
    ahead: bool = False  # a later step of its way forward does
    past: bool = False  # a step that happened did
    undo: bool = False  # if it turned back now, or goes back already: an undo to come calls it

    @property
    def affected(self) -> bool:
        """Whether it makes a difference to what is still to come that the API is there."""
        return self.blocked or self.ahead or self.undo


UNTOUCHED = Touch()


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which APIs each step of a plan calls, and its undo: by itself, or in runs that it begins."""

    forward: tuple[frozenset[str], ...]
    backward: tuple[frozenset[str], ...]
    begins: frozenset[int] = frozenset()  # steps that begin runs
    in_turn: frozenset[int] = frozenset()  # of these: one run after the other

    @cached_property
    def apis(self) -> frozenset[str]:
        """All that a run of the plan may call."""
        return frozenset().union(*self.forward, *self.backward)


def reach_of(plan: Plan) -> Reach:
    """By what stands in the steps themselves."""
    undos = (step.compensation.calls if step.compensation else () for step in plan.steps)
    return Reach(
        forward=tuple(apis_called(step.call) for step in plan.steps),
        backward=tuple(apis_called(*calls) for calls in undos),
    )


def apis_called(*calls: Call) -> frozenset[str]:
    """By these calls and their verifications."""
    return frozenset(
        api for call in calls for api in (call.api, *((call.verify.api,) if call.verify else ()))
    )


def apis_of(plan: Plan) -> frozenset[str]:
    """All that a run of this plan may call, but for runs of other workflows."""
    return reach_of(plan).apis


def touch_of(saga: Saga, api: str, reach: Reach) -> Touch:
    """How this API touches a run that has not ended."""
    at = current(saga)
    forward = saga.direction is Direction.FORWARD
    steps = saga.path.steps
    needed = [api in reach.forward[step] for step in steps]
    begins = forward and at is not None and steps[at[0]] in reach.begins
    return Touch(
        blocked=at is not None and not begins and (
            needed[at[0]] if forward else api in reach.backward[steps[at[0]]]
        ),
        ahead=forward and at is not None and (
            any(needed[at[0] + 1 :])
            or (begins and needed[at[0]] and _has_some_to_begin(saga, steps[at[0]], reach))
        ),
        past=any(
            state.forward.status in HAPPENED and needed[step]
            for step, state in enumerate(saga.steps)
        ),
        undo=not (forward and saga.past_pivot) and any(
            saga.steps[step].undo.status not in DONE and api in reach.backward[steps[step]]
            for step in undo_order(saga)
        ),
    )  # fmt: skip


def _has_some_to_begin(saga: Saga, step: int, reach: Reach) -> bool:
    """A run that waits there has begun them, but for a map's."""
    return step in reach.in_turn or saga.status is not RunStatus.WAITING


class Standing:
    """Where runs stand that stand alike. What an API means for them is worked out once."""

    __slots__ = ("_touches", "saga")

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self._touches: dict[str, Touch] = {}

    def touch(self, api: str, reach: Reach) -> Touch:
        """See `touch_of`. Whatever is asked, no more is kept than what the plan reaches, which
        is always the same of it."""
        known = self._touches.get(api)
        if known is not None:
            return known
        if api not in reach.apis:
            return UNTOUCHED
        known = self._touches[api] = touch_of(self.saga, api, reach)
        return known


def going_forward(plan: Plan, step: int | None, status: RunStatus) -> Saga:
    """A run on the straight way that stands at this step: all before it landed, one by one.

    None: behind the last one, where a person is to say how it ends.
    """
    path = straight(plan)
    step = len(path.steps) if step is None else step
    states = tuple(
        StepState(forward=Link(status=LinkStatus.LANDED, sequence=at + 1)) if at < step
        else StepState()
        for at in range(len(path.steps))
    )  # fmt: skip
    saga = Saga(plan=plan, path=path, steps=states, status=status)
    for by in range(min(step, len(states))):
        saga = undone_by_hand(saga, by)
    return saga


def standing_at(
    plan: Plan,
    path: Path | None,
    links: Mapping[tuple[int, Direction], Link],
    *,
    status: RunStatus,
    direction: Direction,
) -> Saga:
    """A run with these links, as far as anything has happened to them."""
    untouched = Link()
    path = path or straight(plan)
    steps = tuple(
        StepState(
            forward=links.get((at, Direction.FORWARD), untouched),
            undo=links.get((at, Direction.BACKWARD), untouched),
        )
        for at in range(len(path.steps))
    )
    return replace(Saga.new(plan), path=path, steps=steps, status=status, direction=direction)
