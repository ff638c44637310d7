"""Policies of software agents, and the runs that are let in under them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from orchestrator.core.guarding import Charge, Policy, Question
from orchestrator.errors import Problem
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.records import Accepted, NewRun


class Agent(NamedTuple):
    """Whom a policy is for: a name within a tenant, or EVERYBODY of a tenant."""

    tenant: str
    name: str


class UnderWay(StrEnum):
    """What becomes of an agent's runs when it is stopped."""

    LEAVE = "leave"  # they go on
    CANCEL = "cancel"  # they are undone


class PolicyChangeKind(StrEnum):
    """What was done to a policy."""

    SET = "set"
    REMOVE = "remove"
    STOP = "stop"
    ALLOW = "allow"


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as it holds now. One that was removed has no rules and `removed`."""

    tenant: str
    agent: str
    version: int  # of its latest change; 1, 2, … by agent
    policy: Policy
    removed: bool
    changed_at: datetime


class NewPolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change to be made of one agent's policy."""

    agent: Agent
    expected_version: int  # 0: there has been none yet
    kind: PolicyChangeKind
    by: str
    reason: str
    policy: Policy  # that holds from now on


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was made; kept for ever."""

    tenant: str
    agent: str
    version: int
    kind: PolicyChangeKind
    at: datetime
    by: str
    reason: str
    policy: Policy  # that held from then on


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted under a policy."""

    spent: Mapping[tuple[str, str], int]  # by what and name of period: those of now
    now: datetime


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What policies say of a run that somebody might want."""

    refused: Sequence[Problem] = ()
    asked: Sequence[Question] = ()  # of a person, before it begins


class GuardStore(Protocol):
    """Policies, and runs accepted under them. What is counted is counted with the acceptance."""

    async def policies(self) -> list[PolicyRecord]:
        """All that were not removed, by tenant and name."""

    async def policies_of(self, agents: Collection[Agent]) -> list[PolicyRecord]:
        """Those of these that have one, removed ones too."""

    async def change_policy(self, change: NewPolicyChange) -> PolicyRecord:
        """Make a change and record it, in one transaction. Runs accepted after it are under it.

        Raises Conflict when the policy is not at `expected_version` any more.
        """

    async def policy_changes(self, agent: Agent, *, limit: int = 50) -> list[PolicyChange]:
        """What was changed, newest first."""

    async def uses(self, agent: Agent) -> Uses:
        """What is spent of this day and month, once what compensated runs spent is given back."""

    async def judged(self, charge: Charge, agents: Sequence[Agent]) -> Judged:
        """What their policies say of a run now, as `accept_guarded` would; nothing is counted."""

    async def accept_guarded(
        self,
        runs: Sequence[NewRun],
        charges: Sequence[Charge],
        under: Mapping[str, Sequence[Agent]],
    ) -> list[Accepted]:
        """As RunStore.accept, in one transaction with what is counted under the runs' policies.

        `charges`: one for each run; `under`: by run id, whose policies it is under. A run whose key
        is known counts for nothing. Of runs at once, in whatever process, no more are let in than a
        policy allows. One that a person has to approve is held: `paused`, with an open approval
        whose end lets it go, forward or, unless it was approved, to be cancelled. Raises as
        `accept` does, and NotAllowed or Overloaded (a rate, soon over), with nothing written,
        naming for each rule what was found and wanted and when it passes.
        """

    async def expire_holds(self, *, limit: int = 500) -> list[Redelivery]:
        """Let runs go that nobody approved in time: as to be cancelled. What is to be published."""
