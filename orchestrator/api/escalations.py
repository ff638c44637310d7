"""`/v1/escalations`: runs that need a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Response

from orchestrator.api import reading, shapes
from orchestrator.api.asking import (
    TEXT,
    Age,
    Asker,
    Cursor,
    EscalationId,
    IfMatch,
    Limit,
    Tenant,
    Use,
    check_match,
    hidden,
    require_match,
)
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.core import events
from orchestrator.core.saga import EscalationReason
from orchestrator.errors import NotFound
from orchestrator.ports import EscalationFilter, EscalationRecord, Role
from orchestrator.service.escalations import Act
from orchestrator.service.principal import Principal
from orchestrator.wiring_services import Services

router = APIRouter(route_class=LookingRoute, prefix="/v1/escalations", tags=["escalations"])

_DECISION: dict[int | str, dict[str, Any]] = {
    202: {"model": shapes.Decided, "description": "Proposed: a second person has to confirm it."},
    **documented(404, 409, 412, 428),
}
_TAKEN = documented(404, 409, 412)
Word = Annotated[str | None, Query(max_length=200, pattern=TEXT)]


@router.get("", operation_id="listEscalations")
async def list_escalations(
    who: Asker,
    services: Use,
    *,
    state: Annotated[Literal["open", "all"], Query()] = "open",
    tenant: Tenant = None,
    workflow: Word = None,
    api: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="Of the stuck link.")
    ] = None,
    step: Word = None,
    reason: EscalationReason | None = None,
    detail: Annotated[
        str | None, Query(max_length=500, pattern=TEXT, description="Is somewhere in it.")
    ] = None,
    older_than_seconds: Age = None,
    younger_than_seconds: Age = None,
    claimed: Annotated[bool | None, Query(description="Whether somebody has taken it.")] = None,
    claimed_by: Word = None,
    overdue: Annotated[
        bool | None, Query(description="Whether somebody should have decided by now.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> shapes.Page[shapes.EscalationShape]:
    """A page of them, oldest first."""
    who.require(Role.VIEWER)
    found = await services.escalations.list(EscalationFilter(
        open_only=state == "open", tenant=who.tenant_of(tenant), workflow=workflow, api=api,
        step=step, reason=reason, detail=detail, claimed=claimed, claimed_by=claimed_by,
        older_than_seconds=older_than_seconds, younger_than_seconds=younger_than_seconds,
        overdue=overdue, after=cursor, limit=limit + 1,
    ))  # fmt: skip
    page = [reading.escalation(each, services.escalations.urgency) for each in found[:limit]]
    return shapes.Page(items=page, next=page[-1].id if len(found) > limit else None)


@router.get("/{escalation_id}", operation_id="showEscalation", responses=documented(404))
async def show_escalation(
    escalation_id: EscalationId, who: Asker, services: Use, response: Response
) -> shapes.EscalationShape:
    """One, with all that is known. Its ETag says what a decision was based on."""
    record = await _visible(escalation_id, who, services, Role.VIEWER)
    return _answer(record, response, services)


@router.get("/{escalation_id}/briefing", operation_id="briefEscalation", responses=documented(404))
async def brief_escalation(
    escalation_id: EscalationId, who: Asker, services: Use
) -> shapes.BriefingShape:
    """Where to look, what each choice would lead to, and how many are like it."""
    record = await _visible(escalation_id, who, services, Role.VIEWER)
    return shapes.BriefingShape.model_validate(await services.briefings.of(record.id))


@router.post("/{escalation_id}/claim", operation_id="claim", responses=_TAKEN)
async def claim(
    escalation_id: EscalationId,
    who: Asker,
    services: Use,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.EscalationShape:
    """Take it: one of those who try at once gets it."""
    record = await _visible(escalation_id, who, services, Role.OPERATOR)
    _as_seen(record, if_match)  # what can be claimed has one tag, and only that is claimed
    claimed = await services.escalations.claim(record.id, by=who.name)
    return _answer(claimed, response, services)


@router.post("/{escalation_id}/assign", operation_id="assign", responses=_TAKEN)
async def assign(
    escalation_id: EscalationId,
    wish: shapes.Assign,
    who: Asker,
    services: Use,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.EscalationShape:
    """Give it to somebody, whoever has it now."""
    record = await _visible(escalation_id, who, services, Role.OPERATOR)
    seen = _as_seen(record, if_match)
    given = await services.escalations.assign(record.id, to=wish.to, by=who.name, seen=seen)
    return _answer(given, response, services)


@router.post("/{escalation_id}/comments", operation_id="comment", responses=documented(404))
async def comment(
    escalation_id: EscalationId, wish: shapes.Remark, who: Asker, services: Use
) -> list[shapes.CommentShape]:
    """Add a remark, kept in the audit; all of them."""
    record = await _visible(escalation_id, who, services, Role.OPERATOR)
    found = await services.escalations.comment(record.id, wish.text, by=who.name)
    return [shapes.CommentShape.model_validate(each) for each in found]


@router.post("/{escalation_id}/release", operation_id="release", responses=_TAKEN)
async def release(
    escalation_id: EscalationId,
    who: Asker,
    services: Use,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.EscalationShape:
    """Give it back to the queue."""
    record = await _visible(escalation_id, who, services, Role.OPERATOR)
    seen = _as_seen(record, if_match)
    released = await services.escalations.release(record.id, by=who.name, seen=seen)
    return _answer(released, response, services)


@dataclass(frozen=True, slots=True)
class Deciding:
    """A decision about to be made: on what, by whom, and what it was based on."""

    record: EscalationRecord
    who: Principal
    services: Services
    response: Response
    whatever_it_is: bool  # by now; else only on what has just been compared

    async def on(
        self,
        wish: shapes.Decide,
        resolution: str,
        event: events.Event,
        outputs: dict[str, Any] | None = None,
        corrections: dict[str, Any] | None = None,
    ) -> shapes.Decided:
        """Decide. What was compared in the face is compared again where it is written."""
        act = Act(
            resolution=resolution, event=event, by=self.who.name, reason=wish.reason,
            seen=None if self.whatever_it_is else self.record, outputs=outputs,
            corrections=corrections, via="rest",
        )  # fmt: skip
        settled = await self.services.escalations.decide(self.record.id, act)
        proposal = settled.proposal
        if proposal is not None:
            self.response.status_code = 202
        return shapes.Decided(
            escalation_id=self.record.id, run_id=self.record.run_id, run_status=settled.status,
            proposal_id=None if proposal is None else proposal.id,
        )  # fmt: skip


async def deciding(
    escalation_id: EscalationId,
    who: Asker,
    services: Use,
    response: Response,
    if_match: Annotated[
        str | None,
        Header(description="The ETag of what this was decided on; * for whatever it is by now."),
    ] = None,
) -> Deciding:
    """Raises NotAllowed, NotFound, PreconditionRequired or PreconditionFailed."""
    record = await _visible(escalation_id, who, services, Role.OPERATOR)
    given = require_match(if_match, reading.escalation_tag(record), "the escalation")
    return Deciding(record, who, services, response, "*" in given)


Decision = Annotated[Deciding, Depends(deciding)]


@router.post("/{escalation_id}/retry", operation_id="retry", responses=_DECISION)
async def retry(wish: shapes.Retry, decision: Decision) -> shapes.Decided:
    """Try the stuck call again, with the same key and bytes; or corrected, as another request."""
    return await decision.on(wish, "retried", events.Retried(), corrections=wish.corrections)


@router.post("/{escalation_id}/resolve", operation_id="resolve", responses=_DECISION)
async def resolve(wish: shapes.Resolve, decision: Decision) -> shapes.Decided:
    """You vouch that the stuck call is done (or certainly did nothing); the rest goes on."""
    event = events.Resolved(landed=wish.landed)
    return await decision.on(wish, "resolved", event, wish.outputs)


@router.post("/{escalation_id}/skip", operation_id="skip", responses=_DECISION)
async def skip(wish: shapes.Decide, decision: Decision) -> shapes.Decided:
    """Leave the stuck undo's effect standing; the remaining undos go on."""
    return await decision.on(wish, "skipped", events.Skipped())


@router.post("/{escalation_id}/abandon", operation_id="abandon", responses=_DECISION)
async def abandon(wish: shapes.Decide, decision: Decision) -> shapes.Decided:
    """End the run where it is. Final."""
    return await decision.on(wish, "abandoned", events.Abandoned())


def _as_seen(record: EscalationRecord, if_match: str | None) -> EscalationRecord | None:
    """What the act has to find; None: whatever it is. Raises PreconditionFailed."""
    held = check_match(if_match, reading.escalation_tag(record), "the escalation")
    return record if held else None


def _answer(
    record: EscalationRecord, response: Response, services: Services
) -> shapes.EscalationShape:
    response.headers["ETag"] = reading.escalation_tag(record)
    return reading.escalation(record, services.escalations.urgency)


async def _visible(
    escalation_id: str, who: Principal, services: Services, role: Role
) -> EscalationRecord:
    """It, if it exists for who asks. Raises NotAllowed, NotFound."""
    who.require(role)
    try:
        record = await services.escalations.show(escalation_id)
    except NotFound:
        raise hidden("escalation", escalation_id) from None
    if not who.sees(record.tenant):
        raise hidden("escalation", escalation_id)
    return record
