"""Proposals: decisions of one person that count when a second person confirms them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from orchestrator.ports.hints import Redelivery
from orchestrator.ports.jobs import JobItem
from orchestrator.ports.records import RunRecord, RunWrite
from orchestrator.ports.waiting import Decision, WaitRecord

PROPOSED = "proposed"
"""What came of a job's thing for which a proposal was made."""


class Subject(StrEnum):
    """What a proposal is about."""

    ESCALATION = "escalation"
    APPROVAL = "approval"
    EDIT = "edit"  # of the inputs of a step that has not begun


class ProposalOutcome(StrEnum):
    """How a proposal ended."""

    CONFIRMED = "confirmed"  # by a second person; in the transaction that did what was proposed
    REFUSED = "refused"  # by anybody, who proposed it included
    EXPIRED = "expired"
    OVERTAKEN = "overtaken"  # what it was about was settled otherwise


class NewProposal(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal to be made; it is good for `seconds` from the database's now."""

    id: str
    run_id: str
    subject: Subject
    subject_id: str  # of the escalation or the wait; of an edit the step's id in the workflow
    act: str  # "retried", "resolved", "skipped", "abandoned"; "approved"; "edited"
    arguments: Mapping[str, Any]  # as whoever performs the act made them
    reason: str
    by: str
    via: str  # "cli", "rest", "console", "link", "job"
    seconds: float


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal that was made; kept as long as its run. One for each subject is open at a time."""

    id: str
    run_id: str
    workflow: str
    tenant: str
    subject: Subject
    subject_id: str
    act: str
    arguments: Mapping[str, Any]
    reason: str
    proposed_by: str
    via: str
    proposed_at: datetime
    expires_at: datetime
    closed_at: datetime | None  # None while it is open
    outcome: ProposalOutcome | None
    closed_by: str | None
    closing_reason: str | None

    @property
    def is_open(self) -> bool:
        """Whether somebody can still confirm it, as far as it has been looked at."""
        return self.closed_at is None


class ProposalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which proposals to list; None means any. Oldest first; `after` is the cursor (an id)."""

    open_only: bool = True
    tenant: str | None = None
    run_id: str | None = None
    subject: Subject | None = None
    subject_id: str | None = None
    after: str | None = None
    limit: int = 200


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """The second person's word."""

    proposal_id: str
    by: str
    reason: str
    via: str


class ActWrite(msgspec.Struct, frozen=True, kw_only=True):
    """What closes an escalation, as `EscalationStore.act` takes it."""

    escalation_id: str
    write: RunWrite
    expected_epoch: int
    resolution: str
    by: str
    reason: str


class ProposalStore(Protocol):
    """Proposals. Whoever changes one locks its run first, so that one of those who decide wins."""

    async def propose(self, new: NewProposal, *, item: JobItem | None = None) -> Proposal:
        """Make it, audited; with `item`, for a job in the same transaction, once.

        Raises Conflict when its subject is settled, or has an open proposal, and says whose;
        JobHeld, NotFound.
        """

    async def proposal(self, proposal_id: str) -> Proposal:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def proposals(self, which: ProposalFilter) -> list[Proposal]:
        """Those that the filter names. One whose time is over is not open, whoever has noticed."""

    async def refuse_proposal(self, proposal_id: str, *, by: str, reason: str) -> Proposal:
        """Close it unconfirmed, audited. Raises Conflict when it is over, NotFound."""

    async def confirm_act(
        self, confirmation: Confirmation, act: ActWrite, *, item: JobItem | None = None
    ) -> list[Redelivery]:
        """Close the proposal and do what it proposes, as `EscalationStore.act` does, in one go.

        Raises Conflict when the proposal is over, its time is, or who confirms has proposed it,
        and for what `act` raises it.
        """

    async def confirm_decision(
        self,
        confirmation: Confirmation,
        wait_id: str,
        decision: Decision,
        *,
        data: Mapping[str, Any],
    ) -> tuple[WaitRecord, Redelivery | None]:
        """Close the proposal and decide, as `WaitStore.decide` does, in one transaction. Raises
        as `confirm_act` and `decide` do."""

    async def confirm_edit(
        self, confirmation: Confirmation, run_id: str, step: str, values: Mapping[str, Any]
    ) -> RunRecord:
        """Close the proposal and let the step send these values, in one transaction, audited.

        Whoever claims the run finds them. Raises Conflict as `confirm_act` does, and when the step
        has begun, the run does not go forward, or a worker has it in hand.
        """

    async def lapse_proposals(self, *, limit: int = 100) -> list[str]:
        """Close those whose time is over, or whose subject is settled, audited. Their ids."""
