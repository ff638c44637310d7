"""Answers that runs wait for: signals from outside, and approvals by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from orchestrator.ports.children import NewChild
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.maps import NewMap
from orchestrator.ports.records import RunWrite, Signals

HELD = "run.held"
"""Audit kind: a run waits for a person before it begins."""


class Asks(StrEnum):
    """Whom a step asks."""

    SIGNAL = "signal"  # whoever sends the run a signal of this name
    APPROVAL = "approval"  # a person, who approves or rejects
    CHILD = "child"  # the runs that the step began, for their end
    BLOCK = "block"  # the branches that the step began, for the end of them all
    MAP = "map"  # the runs of its items, for the end of them all
    UNDO = "undo"  # the run that undoes what such a run did
    SLEEP = "sleep"  # nobody: it is over when its time has come


def said_of(asks: Asks, signal: str | None) -> str:
    """What a run waits for, in words."""
    match asks:
        case Asks.SIGNAL:
            return f"the signal {signal}"
        case Asks.APPROVAL:
            return "a person to approve"
        case Asks.CHILD:
            return "a run of its own"
        case Asks.BLOCK:
            return "its branches"
        case Asks.MAP:
            return "the runs of its items"
        case Asks.UNDO:
            return "the run that undoes it"
        case Asks.SLEEP:
            return "a time alone"


class WaitOutcome(StrEnum):
    """How a wait ended."""

    ANSWERED = "answered"  # a signal came, or what was waited for has ended
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"  # nobody answered in time; of a sleep: its time has come
    WITHDRAWN = "withdrawn"  # the run turned back or ended meanwhile


class Decision(StrEnum):
    """What a person says to an approval."""

    APPROVED = "approved"
    REJECTED = "rejected"


class NewWait(msgspec.Struct, frozen=True, kw_only=True):
    """A step that asks. One for each attempt; asked again, it is the same wait."""

    id: str
    run_id: str
    step: int  # position in the run's chain
    attempt: int  # 1-based; of an undo counted down from -1
    step_id: str
    asks: Asks
    signal: str | None  # of a signal: its name
    asked: Mapping[str, Any]  # all that the step was told: message, show, roles, …
    expires_at: datetime | None  # unless it is known already, as of its first opening
    remind_seconds: float | None = None


class WaitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A wait, with what was answered."""

    id: str
    run_id: str
    workflow: str
    tenant: str
    step: int
    attempt: int  # 0: see `holds_the_run`
    step_id: str
    asks: Asks
    signal: str | None
    asked: Mapping[str, Any]
    opened_at: datetime
    expires_at: datetime | None
    remind_at: datetime | None  # the next time
    reminders: int  # how often somebody was reminded
    closed_at: datetime | None
    outcome: WaitOutcome | None  # None while it is open
    answer: Mapping[str, Any] | None
    closed_by: str | None  # who answered
    via: str | None  # "cli", "rest", "console", "link", "agent"

    @property
    def is_open(self) -> bool:
        """Whether an answer still counts."""
        return self.closed_at is None

    @property
    def holds_the_run(self) -> bool:
        """Whether no step asks this: a policy does, before the run begins."""
        return self.attempt == 0


class Awaiting(msgspec.Struct, frozen=True, kw_only=True):
    """A wait with the write that puts its run to sleep until there is an answer.

    Without a write it is looked at and left as it is.

    Whoever opens the wait begins the `children` in the same transaction. Where none of them
    answers it, since all are detached, it is answered with their ids at once.
    """

    wait: NewWait
    write: RunWrite | None
    children: tuple[NewChild, ...] = ()
    map: NewMap | None = None  # begins with the wait, likewise; without items it is answered


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """The wait as it stands. A run whose wait is over is not released."""

    wait: WaitRecord
    signals: Signals  # as of any write


class NewSignal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened outside, told to a run. The same name and key is the same signal."""

    run_id: str
    name: str
    key: str
    data: Mapping[str, Any]
    by: str
    via: str


class SignalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that was accepted. `wait_id` is the wait that it answered; None: it is kept."""

    run_id: str
    number: int  # 1-based by run, in order of arrival
    name: str
    key: str
    data: Mapping[str, Any]
    sent_at: datetime
    sent_by: str
    via: str
    wait_id: str | None


class SignalReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a signal."""

    signal: SignalRecord
    repeated: bool  # it was there already
    redelivery: Redelivery | None  # what to publish, since the run need not sleep any more


class WaitStore(Protocol):
    """Waits and what answers them. Whoever changes one locks its run first: one answer counts."""

    async def await_answers(self, given: Sequence[Awaiting]) -> list[Awaited | None]:
        """Open each wait unless it is there, see whether it is answered, and let its run sleep.

        In one transaction for all. A signal that was kept answers a wait at once, the oldest of its
        name first. A wait whose time is over by the database's clock is closed, a reminder that
        is due is audited. Where the wait is
        open its `write` is applied as `record` does, with `wake_at` no later than the wait needs;
        where it is over the write is applied without releasing the run, whose owner goes on with
        the answer. None: the write was refused (stale), nothing was written. Repeatable.

        One without a write is only looked at (None: it was not opened yet). A sleep whose time is
        over by the database's clock is told as closed then; it is once its run's next write
        `withdraws`.
        """

    async def send_signal(self, new: NewSignal) -> SignalReceipt:
        """Keep a signal, audited; if the run waits for it, it is the answer and wakes the run.

        The same (run, name, key) with the same data again is answered alike and changes nothing.
        Raises NotFound; Conflict for a run that has ended or turned back, and for the same key with
        other data.
        """

    async def signals_of(self, run_id: str) -> list[SignalRecord]:
        """All of one run, in order of arrival."""

    async def wait(self, wait_id: str) -> WaitRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def waits_of(self, run_id: str) -> list[WaitRecord]:
        """All of one run, oldest first."""

    async def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        after: str | None = None,
        limit: int = 200,
    ) -> list[WaitRecord]:
        """Oldest first; those of one tenant, and those after one of them (an id)."""

    async def decide(
        self,
        wait_id: str,
        decision: Decision,
        *,
        by: str,
        via: str,
        reason: str,
        data: Mapping[str, Any],
    ) -> tuple[WaitRecord, Redelivery | None]:
        """Answer an approval, audited, and wake its run. Returns what to publish.

        Raises NotFound; Conflict when it is over, when its time is, or when its run is being
        cancelled.
        """
