"""Proposals, for the second person: look, confirm, refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput, NotAllowed, Problem
from orchestrator.ports import (
    Confirmation,
    Proposal,
    ProposalFilter,
    ProposalStore,
    Role,
    RunStore,
    Subject,
)
from orchestrator.service.editing import MAY_CONFIRM, Editing
from orchestrator.service.escalations import Escalations
from orchestrator.service.waiting import Waiting
from orchestrator.telemetry import redact

LONGEST_REASON = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """A proposal that was confirmed, and what its run is now."""

    proposal: Proposal
    run_status: RunStatus


class Proposals:
    """What people have proposed about runs under the rule of four eyes."""

    def __init__(
        self,
        store: ProposalStore,
        runs: RunStore,
        escalations: Escalations,
        waiting: Waiting,
        editing: Editing,
    ) -> None:
        self._store, self._runs = store, runs
        self._escalations, self._waiting = escalations, waiting
        self._editing = editing

    async def list(self, which: ProposalFilter | None = None) -> Sequence[Proposal]:
        """Those that the filter names, oldest first; without one all that are open."""
        found = await self._store.proposals(which or ProposalFilter())
        return [_shown(each) for each in found]

    async def show(self, proposal_id: str) -> Proposal:
        """One. Raises NotFound."""
        return _shown(await self._store.proposal(proposal_id))

    async def confirm(
        self,
        proposal_id: str,
        *,
        by: str,
        via: str,
        reason: str = "",
        role: Role = Role.ADMIN,
    ) -> Confirmed:
        """Do what it proposes, as the second person. `role` is what they may do.

        Raises NotFound, InvalidInput; NotAllowed for a role that could not have proposed it;
        Conflict when it is over, when its subject is, or for who proposed it.
        """
        _check_reason(reason)
        proposal = await self._store.proposal(proposal_id)
        confirmation = Confirmation(proposal_id=proposal.id, by=by, reason=reason.strip(), via=via)
        if proposal.subject is Subject.APPROVAL:
            await self._waiting.confirm(proposal, confirmation, role=role)
        elif proposal.subject is Subject.EDIT:
            _require(role, MAY_CONFIRM, by)
            await self._editing.confirm(proposal, confirmation)
        else:
            _require(role, Role.OPERATOR, by)
            await self._escalations.confirm(proposal, confirmation)
        return Confirmed(
            proposal=await self._store.proposal(proposal.id),
            run_status=(await self._runs.run(proposal.run_id)).status,
        )

    async def refuse(
        self, proposal_id: str, *, by: str, reason: str, role: Role = Role.ADMIN
    ) -> Proposal:
        """Close it unconfirmed; who proposed it may do that as well. Raises as `confirm` does."""
        if not reason.strip():
            problem = Problem(place="reason", found="nothing", wanted="why it is refused")
            raise InvalidInput("a refusal needs a reason", problems=[problem])
        _check_reason(reason)
        _require(role, Role.OPERATOR, by)
        proposal = await self._store.proposal(proposal_id)
        return await self._store.refuse_proposal(proposal.id, by=by, reason=reason.strip())


def _check_reason(reason: str) -> None:
    if len(reason) > LONGEST_REASON:
        wanted = f"at most {LONGEST_REASON} characters"
        problem = Problem(place="reason", found=f"{len(reason)} characters", wanted=wanted)
        raise InvalidInput("the reason is too long", problems=[problem])


def _require(role: Role, wanted: Role, by: str) -> None:
    if not role.covers(wanted):
        problem = Problem(place=f"role of {by}", found=role, wanted=wanted)
        raise NotAllowed("this is for others to decide", problems=[problem])


def _shown(proposal: Proposal) -> Proposal:
    """As the second person sees it; what is confirmed is what is stored."""
    return replace(proposal, arguments=redact.hidden(proposal.arguments))
