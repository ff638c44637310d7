"""What can happen to a saga, in the past tense. Plain values; chance (`jitter`) travels in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.core.plan import Plan


class CancelMode(StrEnum):
    """What a cancelled run does with what it has done."""

    UNDO = "undo"  # compensate, then end `compensated`
    STOP = "stop"  # leave everything as it is and end `abandoned`


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Where the author of a workflow wants a run to go on after a step, in numbers of plan steps.

    Without `to` the chain ends. With a `limit` it is a retry: the steps `via`, if any, and then
    `to` again, at most that often in a row.
    """

    to: int | None = None
    via: tuple[int, int] | None = None  # first and last of the steps to go through before
    limit: int | None = None
    after_seconds: float | None = None  # to wait before


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed(Event):
    """A worker has taken the run up: first claim, wait over, or takeover from a dead worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Began(Event):
    """The intent of one attempt at the current link is about to be made durable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn(Event):
    """The attempt was begun but its request certainly never left; no attempt is used up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed(Event):
    """The effect exists. `accepted` is False when the answer breaks the success criteria.

    `moves`, here and below: what the step's actions say to its final outcome, the first that is
    possible is made. An outcome that is not accepted, and none that is possible: the run turns
    back.
    """

    accepted: bool = True
    reason: str = ""
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NotLanded(Event):
    """The attempt certainly had no effect.

    `settles_doubt`: the answer also speaks for earlier attempts with the same key (a business
    refusal does; a refused connection, a rate limit or a 401 does not).
    """

    reason: str
    retryable: bool = False
    most_attempts: int | None = None  # where an action of the author wants others, and bounds them
    retry_after_seconds: float | None = None
    jitter: float = 0.0
    settles_doubt: bool = False
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class InDoubt(Event):
    """The request may have left and no answer tells whether it had its effect."""

    reason: str
    retry_after_seconds: float | None = None
    jitter: float = 0.0
    moves: tuple[Move, ...] = ()  # made only where the doubt does not matter


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNeeded(Event):
    """The undo's condition says that there is nothing to undo."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked(Event):
    """The API admits the run at `until` (aware); it holds no slot meanwhile."""

    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Awaited(Event):
    """The current step has asked somebody, and the run sleeps until there is an answer.

    At `until` (aware) it looks again, whatever has happened.
    """

    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequested(Event):
    """A person or the caller wants the run ended."""

    mode: CancelMode = CancelMode.UNDO
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseRequested(Event):
    """A person wants the run held at its next boundary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpaused(Event):
    """A person lets a paused run go on; `until`: it has to wait for what is left of a wait."""

    until: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Poisoned(Event):
    """The run was claimed `claims` times without progress: it may be what kills workers."""

    claims: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Distrusted(Event):
    """The run's definition is not what a trusted key has signed: nothing of it may be done."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored(Event):
    """The database is an older one again: the run may since have done anything that was ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migrated(Event):
    """A person has the waiting run go on by another version of its workflow."""

    to: str  # id of the definition: that version, joined to what the run followed before
    step: int  # of its plan: where the run goes on
    keeps: bool = False  # it is the step at which the run waits: its attempts, its question
    # What `to` names; a journal has the name alone.
    plan: Plan | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried(Event):
    """A person orders the stuck link to be tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved(Event):
    """A person vouches for the stuck link: it is done (`landed`), or certainly has no effect."""

    landed: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped(Event):
    """A person leaves the stuck undo's effect standing and lets the rest go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Abandoned(Event):
    """A person ends the escalated run where it is."""
