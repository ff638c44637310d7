"""What there may be to do for the passes that every worker makes, found by one look at all of it.

A worker without work would otherwise ask a dozen times each second whether there is some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class SurveyTimes:
    """How old something has to be to be looked after, in seconds."""

    dead_after: float  # a worker's last heartbeat
    lost_after: float  # the last hint of a run, the last batch of a job
    left_after: float  # a schedule's time that was decided on, and its run not begun


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """At one moment. True: there was something; whoever looks after it looks for itself."""

    workers: tuple[str, ...] | None
    """The ids of all rows; None: not known."""
    due_in_seconds: float | None
    """Until the next of those that sleep is due; 0 or less: some are. None: nobody sleeps."""
    dead: bool
    """A heartbeat is overdue, or runs have an owner without a row."""
    untold: bool
    """Children have ended, and whoever waits for them has not been told."""
    forsaken: bool
    """Branches go on although another one of their block has failed."""
    mapped: bool
    """A map over data has ends that nobody has counted, or items that nobody has begun."""
    paused: bool
    """A pause is in force."""
    scheduled: bool
    """A schedule has something to decide, or a run that was decided on has not begun."""
    lost: bool
    """Hints may have been lost: runs have been announced for long."""
    unclaimed: bool
    """The claim of an escalation is over."""
    lapsed: bool
    """The time of a proposal is over, or what it is about."""
    held: bool
    """Nobody has decided in time about a run that was held for it."""
    jobs: bool
    """Nothing has been heard of a running job for long."""
    coded: bool
    """Runs wait for a worker with the code of their next step, or have lately."""


BLIND = Survey(
    workers=None, due_in_seconds=0.0, dead=True, untold=True, forsaken=True, mapped=True,
    paused=True, scheduled=True, lost=True, unclaimed=True, lapsed=True, held=True, jobs=True,
    coded=True,
)  # fmt: skip
"""Nothing could be seen: there may be anything."""


class SurveyStore(Protocol):
    """Where surveys come from."""

    async def survey(self, times: SurveyTimes) -> Survey:
        """One statement. Raises Unavailable."""


class Surveys(Protocol):
    """Surveys as they are made, one for all passes of a process."""

    async def next(self) -> Survey:
        """The next one that is begun from now on, or was under way."""
