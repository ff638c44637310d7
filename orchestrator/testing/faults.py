"""What may go wrong with one call, as an author of workflows has to reckon with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RETRY_AFTER_SECONDS = 1.0


class Fault(StrEnum):
    """One mishap. Whether the call had its effect is part of it."""

    REFUSED = "refused"  # 422: the API wants none of it, now and later; no effect
    BUSY = "busy"  # 429 with Retry-After; no effect
    BROKEN = "broken"  # 500; no effect, but nobody can know
    UNREACHABLE = "unreachable"  # no connection: the request certainly did not leave
    LOST = "lost"  # the connection breaks before the API has read the request
    LOST_ANSWER = "lost answer"  # the API has done it, and its answer does not arrive
    TIMEOUT = "timeout"  # the API has done it, and answers when nobody waits any more
    KILLED_BEFORE = "killed before"  # the worker dies with the request in its hands
    KILLED_AFTER = "killed after"  # the API has done it, and the worker dies before it hears so

    @property
    def has_effect(self) -> bool:
        """Whether the API has done what was asked all the same."""
        return self in (Fault.LOST_ANSWER, Fault.TIMEOUT, Fault.KILLED_AFTER)

    @property
    def kills(self) -> bool:
        """Whether the worker process ends with it."""
        return self in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)

    @property
    def passes(self) -> bool:
        """Whether another attempt may go better."""
        return self is not Fault.REFUSED


class Way(StrEnum):
    """Which call of a step."""

    DO = "do"
    UNDO = "undo"
    VERIFY = "verify"  # asks whether the step's effect is there
    VERIFY_UNDO = "verify undo"

    @staticmethod
    def of(*, undo: bool, verify: bool) -> Way:
        """By its two marks."""
        if verify:
            return Way.VERIFY_UNDO if undo else Way.VERIFY
        return Way.UNDO if undo else Way.DO

    @property
    def is_verification(self) -> bool:
        """Whether it only asks."""
        return self in (Way.VERIFY, Way.VERIFY_UNDO)


@dataclass(frozen=True, order=True, slots=True)
class Link:
    """One call of one step of a workflow."""

    step: str
    way: Way = Way.DO

    def __str__(self) -> str:
        return self.step if self.way is Way.DO else f"{self.way} {self.step}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failing:
    """A fault at a call, so many times in a row (None: always), and what has to fail beside it."""

    link: Link
    fault: Fault
    times: int | None = 1
    after: Failing | None = None  # because of which the run comes there: an undo needs a reason

    def __str__(self) -> str:
        often = {None: " always", 1: ""}.get(self.times, f" {self.times} times")
        because = "" if self.after is None else f", after {self.after}"
        return f"{self.link}: {self.fault}{often}{because}"
