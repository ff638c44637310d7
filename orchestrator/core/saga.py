"""The saga as a value: one run as the core sees it, what may be read off it, and the commands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from operator import itemgetter

from orchestrator.core.events import CancelMode, Move
from orchestrator.core.path import Path, straight
from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.core.states import (
    DONE,
    FINAL,
    HAPPENED,
    STUCK,
    Direction,
    LinkStatus,
    RunStatus,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One link of the chain: a step's forward action or its undo."""

    status: LinkStatus = LinkStatus.PENDING
    attempts: int = 0  # attempts used up so far
    doubt: bool = False  # an attempt may have landed and nothing has settled it yet
    first_started_at: datetime | None = None  # begin of the first attempt
    sequence: int | None = None  # place in the run's one order of completion, 1-based

    @property
    def spent(self) -> bool:
        """Of a restored run's undo: it, its key or the answer about it may be of an earlier effect.

        The step was found absent after the restore, and is done anew: it may have been done and
        undone before. No attempt of this life was begun, and yet one is used up.
        """
        return self.doubt and self.attempts > 0 and self.first_started_at is None

    def moved(self, status: LinkStatus, *, doubt: bool, sequence: int | None = None) -> Link:
        """The same link in another status; without a `sequence` it keeps its place."""
        return Link(
            status=status, attempts=self.attempts, doubt=doubt,
            first_started_at=self.first_started_at, sequence=sequence or self.sequence,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """A step's two links."""

    forward: Link = field(default_factory=Link)
    undo: Link = field(default_factory=Link)


@dataclass(frozen=True, kw_only=True, slots=True)
class Saga:
    """One run as the core sees it. Payloads are not here: they do not decide anything.

    `steps` holds visits, by position. Wherever a link is named by a number, it is a position.
    """

    plan: Plan
    path: Path
    steps: tuple[StepState, ...]
    status: RunStatus = RunStatus.PENDING
    direction: Direction = Direction.FORWARD
    deadline_at: datetime | None = None
    wake_at: datetime | None = None
    cancel: CancelMode | None = None
    cause: str = ""  # why it turned back or stopped

    @staticmethod
    def new(plan: Plan, *, deadline_at: datetime | None = None) -> Saga:
        """A run of `plan` in which nothing has happened."""
        path = straight(plan)
        steps = tuple(StepState() for _ in path.steps)
        return Saga(plan=plan, path=path, steps=steps, deadline_at=deadline_at)

    def plan_step(self, step: int) -> PlanStep:
        """The step of the plan that is visited at a position."""
        return self.plan.steps[self.path.steps[step]]

    def link(self, step: int, direction: Direction) -> Link:
        """The forward or undo link of a step."""
        state = self.steps[step]
        return state.forward if direction is Direction.FORWARD else state.undo

    def call(self, step: int, direction: Direction) -> Call:
        """What the link invokes. A step without compensation has no call backward."""
        plan_step = self.plan.steps[self.path.steps[step]]
        if direction is Direction.FORWARD:
            return plan_step.call
        assert plan_step.compensation is not None, f"step {plan_step.id} has no compensation"
        return plan_step.compensation.call

    def with_link(self, step: int, direction: Direction, link: Link) -> Saga:
        """The saga with this link instead of its own."""
        # Spelled out, here and in `going`: `dataclasses.replace` takes three times as long, and
        # this is made twice for each step of each run.
        before = self.steps[step]
        after = (
            StepState(forward=link, undo=before.undo)
            if direction is Direction.FORWARD
            else StepState(forward=before.forward, undo=link)
        )
        return Saga(
            plan=self.plan, path=self.path,
            steps=(*self.steps[:step], after, *self.steps[step + 1 :]),
            status=self.status, direction=self.direction, deadline_at=self.deadline_at,
            wake_at=self.wake_at, cancel=self.cancel, cause=self.cause,
        )  # fmt: skip

    def iteration(self, step: int) -> int:
        """How many visits of the same step come before, in whatever version of the workflow."""
        if self.path.is_straight:
            return 0
        name = self.plan_step(step).id
        return sum(self.plan.steps[at].id == name for at in self.path.steps[:step])

    def has_call(self, step: int, direction: Direction) -> bool:
        """Whether the link invokes anything: a step without compensation has no call backward."""
        return direction is Direction.FORWARD or self.plan_step(step).compensation is not None

    def jumped(self, step: int, path: Path) -> Saga:
        """The saga on another way from this position on; nothing after it was begun.

        In a restored run (only there are undos in doubt on the way forward) it may have been.
        """
        restored = any(state.undo.doubt for state in self.steps)
        ahead = tuple(self._ahead(visited, restored) for visited in path.steps[step + 1 :])
        return replace(self, path=path, steps=self.steps[: step + 1] + ahead)

    def _ahead(self, visited: int, restored: bool) -> StepState:
        if not restored:
            return StepState()
        doubt = self.plan.steps[visited].call.effects is not Effects.NONE
        return StepState(forward=Link(doubt=doubt), undo=Link(doubt=True))

    @property
    def is_branch(self) -> bool:
        """Whether it is a branch of a block, on its way. What it does is undone with the block."""
        if not self.plan.blocks or self.direction is Direction.BACKWARD or not self.path.steps:
            return False
        return bool(self.plan.steps[self.path.steps[0]].heads)

    @property
    def undoing(self) -> list[str]:
        """Ids of steps that happened and undo others by hand."""
        return [
            self.plan_step(step).id
            for step, state in enumerate(self.steps)
            if self.plan_step(step).undoes and state.forward.status in HAPPENED
        ]

    @property
    def past_pivot(self) -> bool:
        """Whether the pivot happened, so that the run can only go forward."""
        pivot = self.plan.pivot_index
        return pivot is not None and any(
            state.forward.status in HAPPENED
            for at, state in zip(self.path.steps, self.steps, strict=True)
            if self.plan.steps[at].pivot
        )  # fmt: skip


class EscalationReason(StrEnum):
    """Why a run needs a person."""

    COMPENSATION_FAILED = "compensation_failed"
    IN_DOUBT = "in_doubt"
    FAILED_AFTER_PIVOT = "failed_after_pivot"
    DEADLINE_AFTER_PIVOT = "deadline_after_pivot"
    POISONED = "poisoned"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Base of what the shell is told to do next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Perform(Command):
    """Make one attempt at a link: prepare, begin (durably), send, judge."""

    step: int
    direction: Direction


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify(Command):
    """Ask whether the doubtful link landed."""

    step: int
    direction: Direction


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait(Command):
    """Nothing to do before `until` (aware)."""

    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Escalate(Command):
    """Open one escalation and stop. `step` is None when no link is to blame."""

    reason: EscalationReason
    detail: str
    step: int | None = None
    direction: Direction = Direction.FORWARD


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold(Command):
    """The run is paused; release it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish(Command):
    """The run has reached a final status."""

    status: RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The saga after an event, and what to do now."""

    saga: Saga
    command: Command | None
    move: Move | None = None  # made by this decision


def current(saga: Saga) -> tuple[int, Direction] | None:
    """The link the run stands at, None when the chain in its direction is through."""
    if saga.direction is Direction.FORWARD:
        for step, state in enumerate(saga.steps):
            if state.forward.status not in DONE:
                return step, Direction.FORWARD
        return None
    for step in undo_order(saga):
        if saga.steps[step].undo.status not in DONE:
            return step, Direction.BACKWARD
    return None


def stops_waiting(saga: Saga) -> bool:
    """Whether nobody's answer counts any more: it turned back, or has ended."""
    return saga.direction is Direction.BACKWARD or saga.status in FINAL


def begun(link: Link) -> bool:
    """Whether anything was done about a link, be it that its request could not be made."""
    return link.status is not LinkStatus.PENDING or link.first_started_at is not None


def previous(saga: Saga, at: tuple[int, Direction] | None) -> tuple[int, Direction] | None:
    """The link before this one in the run's one chain: forward, and then backward.

    None before the first; `at` None stands for the end of the chain. The chain back hangs on the
    last forward link that was begun, which may be one that failed.
    """
    if at is not None and at[1] is Direction.FORWARD:
        before = at[0] - 1
        while before > 0 and saga.plan_step(before).call.is_local:
            before -= 1  # nobody was told of it
        return (before, Direction.FORWARD) if before >= 0 else None
    undos = [step for step in undo_order(saga) if saga.has_call(step, Direction.BACKWARD)]
    if at is None:
        undos = undos if saga.direction is Direction.BACKWARD else []
    elif at[0] in undos:
        undos = undos[: undos.index(at[0])]
    if undos:
        return undos[-1], Direction.BACKWARD
    forward = [
        i for i, state in enumerate(saga.steps)
        if begun(state.forward) and (i == 0 or not saga.plan_step(i).call.is_local)
    ]  # fmt: skip
    return (forward[-1], Direction.FORWARD) if forward else None


def undo_order(saga: Saga) -> list[int]:
    """Steps that happened, latest completion first: the order of compensation."""
    happened = [
        (state.forward.sequence or 0, step)
        for step, state in enumerate(saga.steps)
        if state.forward.status in HAPPENED
    ]
    happened.sort(key=_SEQUENCE, reverse=True)
    return [step for _, step in happened]


def standing(saga: Saga) -> list[int]:
    """Steps with an effect that exists: not undone yet, or by nothing, or left by a person."""
    return [step for step in range(len(saga.steps)) if _is_standing(saga, step)]


def _is_standing(saga: Saga, step: int) -> bool:
    forward, undo = saga.steps[step].forward.status, saga.steps[step].undo.status
    if saga.call(step, Direction.FORWARD).effects is Effects.NONE or forward not in HAPPENED:
        return False
    if undo is LinkStatus.NOT_NEEDED:
        return not saga.has_call(step, Direction.BACKWARD)
    return undo not in HAPPENED


_SEQUENCE = itemgetter(0)


def undone_by_hand(saga: Saga, by: int) -> Saga:
    """After a step that undoes others: the latest visit of each needs no undo any more."""
    for name in saga.plan_step(by).undoes:
        standing = (
            step for step in reversed(range(by))
            if saga.plan_step(step).id == name
            and saga.steps[step].forward.status in HAPPENED
            and saga.steps[step].undo.status is LinkStatus.PENDING
        )  # fmt: skip
        step = next(standing, None)
        if step is not None:
            undo = saga.steps[step].undo.moved(LinkStatus.NOT_NEEDED, doubt=False)
            saga = saga.with_link(step, Direction.BACKWARD, undo)
    return saga


def stuck(saga: Saga) -> tuple[int, Direction] | None:
    """The link that stopped an escalated run, None when none did (poison, deadline)."""
    for direction in (Direction.BACKWARD, Direction.FORWARD):
        for step in range(len(saga.steps)):
            status = saga.link(step, direction).status
            unfinished = direction is saga.direction or status is LinkStatus.UNKNOWN
            if status in STUCK and unfinished:
                return step, direction
    return None
