"""Whom an API touches: what each run that is under way has had, has and may have to do with it.

Everything is said of the run as it is recorded now, and of its way as it is laid out now: where an
author may still lead it elsewhere, the straight way counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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


def apis_of(plan: Plan) -> frozenset[str]:
    """All that a run of this plan may call."""
    return frozenset(
        api for step in plan.steps
        for call in (step.call, *(step.compensation.calls if step.compensation else ()))
        for api in (call.api, *((call.verify.api,) if call.verify else ()))
    )  # fmt: skip


def touch_of(saga: Saga, api: str) -> Touch:
    """How this API touches a run that has not ended."""
    at = current(saga)
    forward = saga.direction is Direction.FORWARD
    return Touch(
        blocked=at is not None and _link_needs(saga, at[0], at[1], api),
        ahead=forward and at is not None and any(
            _link_needs(saga, step, Direction.FORWARD, api)
            for step in range(at[0] + 1, len(saga.steps))
        ),
        past=any(
            state.forward.status in HAPPENED and _link_needs(saga, step, Direction.FORWARD, api)
            for step, state in enumerate(saga.steps)
        ),
        undo=not (forward and saga.past_pivot) and any(
            saga.steps[step].undo.status not in DONE
            and _link_needs(saga, step, Direction.BACKWARD, api)
            for step in undo_order(saga)
        ),
    )  # fmt: skip


class Standing:
    """Where runs stand that stand alike. What an API means for them is worked out once."""

    __slots__ = ("_apis", "_touches", "saga")

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self._apis = apis_of(saga.plan)
        self._touches: dict[str, Touch] = {}

    def touch(self, api: str) -> Touch:
        """See `touch_of`. Whatever is asked, no more is kept than what the plan calls."""
        if api not in self._apis:
            return UNTOUCHED
        known = self._touches.get(api)
        if known is None:
            known = self._touches[api] = touch_of(self.saga, api)
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


def _link_needs(saga: Saga, step: int, direction: Direction, api: str) -> bool:
    plan_step = saga.plan_step(step)
    if direction is Direction.FORWARD:
        return _needs(plan_step.call, api)
    undo = plan_step.compensation
    return undo is not None and any(_needs(call, api) for call in undo.calls)


def _needs(call: Call, api: str) -> bool:
    return call.api == api or (call.verify is not None and call.verify.api == api)
