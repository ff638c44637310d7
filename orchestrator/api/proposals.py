"""`/v1/proposals`: what one person wants done, for a second one to confirm or refuse."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response

from orchestrator.api import shapes
from orchestrator.api.asking import (
    TEXT,
    UUID,
    Asker,
    Cursor,
    Limit,
    Tenant,
    Use,
    hidden,
    require_match,
)
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.proposal_shapes import Confirm, ConfirmedShape, ProposalShape, Refuse
from orchestrator.errors import NotFound
from orchestrator.ports import Proposal, ProposalFilter, Role, Subject
from orchestrator.service.principal import Principal
from orchestrator.wiring_services import Services

router = APIRouter(
    route_class=LookingRoute,
    prefix="/v1/proposals",
    tags=["proposals"],
    responses=documented(400, 401, 403, 422, 503),
)

_DECISION = documented(404, 409, 412, 428)
ProposalId = Annotated[str, Path(pattern=UUID, description="A proposal's id.")]
IfMatch = Annotated[
    str | None,
    Header(description="The ETag of what this was decided on; * for whatever it is by now."),
]


@router.get("", operation_id="listProposals")
async def list_proposals(
    who: Asker,
    services: Use,
    *,
    state: Annotated[Literal["open", "all"], Query()] = "open",
    tenant: Tenant = None,
    run: Annotated[str | None, Query(pattern=UUID, description="Of this run alone.")] = None,
    subject: Subject | None = None,
    subject_id: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="About this one alone.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> shapes.Page[ProposalShape]:
    """A page of them, oldest first."""
    who.require(Role.VIEWER)
    found = await services.proposals.list(ProposalFilter(
        open_only=state == "open", tenant=who.tenant_of(tenant), run_id=run, subject=subject,
        subject_id=subject_id, after=cursor, limit=limit + 1,
    ))  # fmt: skip
    page = [ProposalShape.model_validate(each) for each in found[:limit]]
    return shapes.Page(items=page, next=page[-1].id if len(found) > limit else None)


@router.get("/{proposal_id}", operation_id="showProposal", responses=documented(404))
async def show_proposal(
    proposal_id: ProposalId, who: Asker, services: Use, response: Response
) -> ProposalShape:
    """One. Its ETag says what a decision was based on."""
    found = await _visible(proposal_id, who, services, Role.VIEWER)
    response.headers["ETag"] = tag_of(found)
    return ProposalShape.model_validate(found)


@router.post("/{proposal_id}/confirm", operation_id="confirmProposal", responses=_DECISION)
async def confirm_proposal(
    proposal_id: ProposalId, wish: Confirm, who: Asker, services: Use, if_match: IfMatch = None
) -> ConfirmedShape:
    """Do it, as the second person. Who proposed it cannot; of those who try at once one does."""
    found = await _visible(proposal_id, who, services, Role.OPERATOR)
    require_match(if_match, tag_of(found), "the proposal")
    confirmed = await services.proposals.confirm(
        found.id, by=who.name, via="rest", reason=wish.reason, role=who.role
    )
    return ConfirmedShape.model_validate(confirmed)


@router.post("/{proposal_id}/refuse", operation_id="refuseProposal", responses=_DECISION)
async def refuse_proposal(
    proposal_id: ProposalId, wish: Refuse, who: Asker, services: Use, if_match: IfMatch = None
) -> ProposalShape:
    """Close it; nothing is done. Who proposed it may take it back so."""
    found = await _visible(proposal_id, who, services, Role.OPERATOR)
    require_match(if_match, tag_of(found), "the proposal")
    refused = await services.proposals.refuse(
        found.id, by=who.name, reason=wish.reason, role=who.role
    )
    return ProposalShape.model_validate(refused)


def tag_of(proposal: Proposal) -> str:
    """The entity tag of a proposal: another as soon as it is over."""
    return f'"{proposal.outcome or "open"}"'


async def _visible(proposal_id: str, who: Principal, services: Services, role: Role) -> Proposal:
    """It, if it exists for who asks. Raises NotAllowed, NotFound."""
    who.require(role)
    try:
        found = await services.proposals.show(proposal_id)
    except NotFound:
        raise hidden("proposal", proposal_id) from None
    if not who.sees(found.tenant):
        raise hidden("proposal", proposal_id)
    return found
