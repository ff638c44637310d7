"""One run and all that concerns it as a value: what two equal ones have before them is the same.

What decides nothing is left out (payloads, audit), and what only counts on is brought down to what
can be told apart: of times whether they have come, of epochs whether they are the row's.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from orchestrator.core.events import CancelMode
from orchestrator.core.path import straight
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Command, EscalationReason, Link, Saga, StepState, Wait
from orchestrator.core.states import DONE, Direction, RunStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAKE = NOW + timedelta(seconds=1)
LATER = NOW + timedelta(hours=1)
EPOCH = 10
"""The row's; a local copy of an older one has the epoch before, whichever it was."""

At = tuple[int, Direction]


class Core(NamedTuple):
    """A saga without its plan."""

    status: RunStatus
    direction: Direction
    steps: tuple[StepState, ...]
    waits: bool = False
    cancel: CancelMode | None = None

    @staticmethod
    def of(saga: Saga) -> Core:
        """With all times that have come being the same."""
        steps = tuple(
            StepState(forward=_plain(each.forward), undo=_plain(each.undo)) for each in saga.steps
        )
        waits = saga.wake_at is not None
        return Core(saga.status, saga.direction, steps, waits, saga.cancel)

    def saga(self, plan: Plan) -> Saga:
        """As the core of the product takes it."""
        return Saga(
            plan=plan, path=straight(plan), steps=self.steps, status=self.status,
            direction=self.direction, wake_at=WAKE if self.waits else None, cancel=self.cancel,
        )  # fmt: skip

    def link(self, at: At) -> Link:
        """Of a step and a direction."""
        step = self.steps[at[0]]
        return step.forward if at[1] is Direction.FORWARD else step.undo


def _plain(link: Link) -> Link:
    """Nobody asks how often or since when something was tried that is done."""
    done = link.status in DONE
    begun = None if done or link.first_started_at is None else NOW
    attempts = 0 if done else link.attempts
    if (begun, attempts) == (link.first_started_at, link.attempts):
        return link
    return Link(
        status=link.status, attempts=attempts, doubt=link.doubt, first_started_at=begun,
        sequence=link.sequence,
    )  # fmt: skip


class Phase(StrEnum):
    """Where the driver of a run is between two steps of the model."""

    DECIDED = "decided"  # a command is to be obeyed; what led to it is not committed
    BEGUN = "begun"  # the intent is committed, and the request has not left


class Driver(NamedTuple):
    """A run in a worker's hands."""

    owner: str
    current: bool  # its epoch is the row's
    phase: Phase
    core: Core
    command: Command | None
    wish: CancelMode | None = None  # heard with the last commit
    refuses: bool = False  # the next commit says that the wish is refused
    progressed: bool = False  # a link got an outcome that is not committed
    unheard: str = ""  # what it has committed without being told so: it does that again


def in_order(drivers: Iterable[Driver]) -> tuple[Driver, ...]:
    """Of several drivers none is the first."""
    found = tuple(drivers)
    return found if len(found) < 2 else tuple(sorted(found, key=repr))


def plain_command(command: Command | None) -> Command | None:
    """With the one time that is still to come."""
    return Wait(until=WAKE) if isinstance(command, Wait) else command


class Letter(NamedTuple):
    """An open escalation."""

    reason: EscalationReason
    step: int | None
    direction: Direction


class Effects(NamedTuple):
    """How often the API has done a step, and undone it."""

    done: int = 0
    undone: int = 0


class Budget(NamedTuple):
    """What may still befall a run."""

    misfortunes: int  # of calls: refused, busy, without an answer
    cancels: int
    acts: int  # of an operator, on its escalations


class State(NamedTuple):
    """The row, the hint on the broker, the drivers, and what is true at the API."""

    core: Core
    world: tuple[Effects, ...]
    budget: Budget
    owner: str | None = None
    claims: int = 0
    announced: bool = True  # `published_at` is set
    wish: CancelMode | None = None
    letter: Letter | None = None
    hint: bool = True  # one of the row's epoch is on the broker
    drivers: tuple[Driver, ...] = ()


def first(plan: Plan, budget: Budget) -> State:
    """An accepted run whose hint was published."""
    return State(
        core=Core.of(Saga.new(plan)), world=tuple(Effects() for _ in plan.steps), budget=budget
    )
