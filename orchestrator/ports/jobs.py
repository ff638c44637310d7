"""Acts on many things at once, as durable jobs: what is to be done, and how far that has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from orchestrator.ports.records import RunFilter


class EscalationFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which escalations; None means any. Oldest first; `after` is the cursor (an id)."""

    open_only: bool = True
    ids: tuple[str, ...] | None = None
    tenant: str | None = None
    workflow: str | None = None
    api: str | None = None  # of the link that is stuck
    step: str | None = None  # its id in the workflow
    reason: str | None = None
    detail: str | None = None  # is somewhere in it; ASCII letters of either case
    claimed: bool | None = None
    claimed_by: str | None = None
    older_than_seconds: float | None = None  # since it was opened
    younger_than_seconds: float | None = None
    overdue: bool | None = None  # by `due_seconds`
    due_seconds: Mapping[str, float] | None = None  # from opening, by reason and severity
    order_by_due: bool = False  # soonest first instead; wants `due_seconds`, and has no cursor
    after: str | None = None
    limit: int | None = 200  # None: all


OPEN_ONES = EscalationFilter()
"""The oldest open escalations."""


Which = EscalationFilter | RunFilter
"""What names the things of a job."""

MOST_THINGS = 100_000
"""Of one job. They are chosen in one transaction, which must not hold up anybody for long."""


class JobState(StrEnum):
    """How a job stands."""

    RUNNING = "running"  # workers are at it
    PAUSED = "paused"  # held by a person until resumed
    CANCELLED = "cancelled"  # final: what is done stays done, the rest is left as it was
    DONE = "done"  # final: every item was acted on or refused


class JobItemState(StrEnum):
    """How one thing of a job stands."""

    PENDING = "pending"
    DONE = "done"  # written in the transaction that acted on it
    REFUSED = "refused"  # it could not be acted on: it has moved on, or is somebody's


class JobOrder(StrEnum):
    """What a person may want of a job that has not ended."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class JobItem(msgspec.Struct, frozen=True, kw_only=True):
    """A thing to be acted on for a job. The act says what came of it in its own transaction."""

    job_id: str
    item: str  # id of an escalation or a run
    outcome: str  # as the job's report tells it


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """An act on many things. Which ones is settled when it is accepted."""

    id: str
    kind: str  # "escalations.retry", "runs.cancel" …
    tenant: str | None  # the only one that it may reach; None: all
    where: Mapping[str, Any]  # the filter, as it was given
    arguments: Mapping[str, Any]  # of the act
    by: str
    reason: str
    key: str | None = None  # the same key again is the same job again


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job's row."""

    id: str
    kind: str
    tenant: str | None
    where: Mapping[str, Any]
    arguments: Mapping[str, Any]
    by: str
    reason: str
    state: JobState
    turn: int  # counts the batches that were begun; a message of an older one is stale
    total: int
    done: int
    refused: int
    created_at: datetime
    touched_at: datetime  # when it last got on, or a message for it was given
    ended_at: datetime | None
    orders: Sequence[Mapping[str, Any]]  # what people wanted of it since: at, by, order, reason
    proposed: int = 0  # of those that are done: a second person has to confirm them

    @property
    def pending(self) -> int:
        """Things that nothing was done about yet."""
        return self.total - self.done - self.refused


class JobItemRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A thing of a job, and what came of it."""

    item: str
    state: JobItemState
    outcome: str  # empty while it is pending
    at: datetime | None


class JobStore(Protocol):
    """The part of the database that knows jobs."""

    async def count_things(self, which: Which) -> int:
        """How many the filter names, whatever its limit says."""

    async def add_job(self, new: NewJob, items: Which) -> JobRecord:
        """Accept it with the things that the filter names now, in one transaction.

        A (tenant, key) that exists is answered with its job. Raises NotFound when nothing fits,
        InvalidInput when more do than MOST_THINGS.
        """

    async def job(self, job_id: str) -> JobRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def jobs(
        self, *, tenant: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Newest first; those bound to one tenant, and those before one of them (an id)."""

    async def job_items(
        self, job_id: str, *, state: JobItemState | None = None, after: str | None = None,
        limit: int = 200,
    ) -> list[JobItemRecord]:  # fmt: skip
        """Its things in order of their ids, those after one of them."""

    async def order_job(
        self, job_id: str, order: JobOrder, *, by: str, reason: str, seen: JobRecord | None = None
    ) -> JobRecord:
        """Pause, resume or cancel it, and keep who wanted that.

        When a pause or a cancel has been answered, nothing more is acted on. With `seen`, only if
        nobody has ordered it since it was read so. Raises Conflict when it has ended, or is as
        wanted already; NotFound.
        """

    async def take_job_turn(self, job_id: str, turn: int) -> JobRecord | None:
        """Begin the next batch of a running job that is still at this turn; None: it is not."""

    async def refuse_item(self, item: JobItem) -> None:
        """Nothing is done about it, and why. Raises JobHeld unless the job runs and it is pending.

        The acts themselves take a JobItem and raise the same, with nothing changed.
        """

    async def end_job_if_through(self, job_id: str) -> JobRecord:
        """Its record; a running job of which nothing is pending is done from now on."""

    async def take_silent_jobs(self, *, silent_seconds: float, limit: int = 100) -> list[JobRecord]:
        """Running jobs that nothing was heard of for so long: mark and return them."""
