"""`/v1/approvals` and what runs wait for: people decide, events are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import uuid_utils
from fastapi import APIRouter, Body, Depends, Header, Path, Query, Response

from orchestrator.api import reading, shapes, wait_shapes
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
from orchestrator.api.runs import Run
from orchestrator.errors import NotFound
from orchestrator.ports import Asks, Decision, Role, WaitRecord
from orchestrator.service.principal import Principal
from orchestrator.service.waiting import check_role
from orchestrator.wiring_services import Services

router = APIRouter(route_class=LookingRoute, prefix="/v1", tags=["approvals"])

SignalKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=200, pattern=TEXT,
        description="The same key with the same data is the same signal; with other data, 409.",
    ),
]  # fmt: skip
ApprovalId = Annotated[str, Path(pattern=UUID, description="An approval's id.")]


def submitter(who: Asker) -> None:
    """Raises NotAllowed for who may not start runs."""
    who.require(Role.SUBMITTER)


@router.get("/approvals", operation_id="listApprovals")
async def list_approvals(
    who: Asker,
    services: Use,
    *,
    state: Annotated[Literal["open", "all"], Query()] = "open",
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> shapes.Page[wait_shapes.ApprovalShape]:
    """A page of what people are asked, oldest first."""
    who.require(Role.VIEWER)
    found = await services.waiting.approvals(
        open_only=state == "open", tenant=who.tenant_of(tenant), after=cursor, limit=limit + 1
    )
    page = [reading.approval(each) for each in found[:limit]]
    return shapes.Page(items=page, next=page[-1].id if len(found) > limit else None)


@router.get("/approvals/{approval_id}", operation_id="showApproval", responses=documented(404))
async def show_approval(
    approval_id: ApprovalId, who: Asker, services: Use, response: Response
) -> wait_shapes.ApprovalShape:
    """One, with what is asked and shown. Its ETag says what a decision was based on."""
    return _answer(await _visible(approval_id, who, services, Role.VIEWER), response)


@router.post(
    "/approvals/{approval_id}/decide",
    operation_id="decideApproval",
    responses=documented(404, 409, 412, 428),
)
async def decide_approval(
    approval_id: ApprovalId,
    wish: wait_shapes.DecideApproval,
    who: Asker,
    services: Use,
    response: Response,
    if_match: Annotated[
        str | None,
        Header(description="The ETag of what this was decided on; * for whatever it is by now."),
    ] = None,
) -> wait_shapes.ApprovalShape:
    """Approve or reject. Of those who decide at once one wins; the others hear who did.

    Where two have to approve, it is open after the first approval, which is among the proposals.
    """
    record = await _visible(approval_id, who, services, Role.OPERATOR)
    require_match(if_match, reading.approval_tag(record), "the approval")
    decided = await services.waiting.decide(
        record.id, Decision(wish.decision), by=who.name, via="rest", reason=wish.reason,
        data=wish.data, role=who.role,
    )  # fmt: skip
    return _answer(decided, response)


@router.post(
    "/approvals/{approval_id}/links",
    operation_id="linkApproval",
    status_code=201,
    responses=documented(404, 409),
)
async def link_approval(
    approval_id: ApprovalId, wish: wait_shapes.MakeLink, who: Asker, services: Use
) -> wait_shapes.LinkMade:
    """An address at which one person decides, without a key; for who may decide.

    The decision bears both names: of whom it is for, and of who made it.
    """
    record = await _visible(approval_id, who, services, Role.OPERATOR)
    check_role(record, who.role, who.name)
    name = f"{wish.name.strip()} (by a link of {who.name})"
    url = await services.links.make(record.id, name=name, lives=timedelta(hours=wish.hours))
    return wait_shapes.LinkMade(url=url)


@router.post(
    "/runs/{run_id}/signals/{name}",
    operation_id="sendSignal",
    status_code=202,
    responses=documented(404, 409),
    dependencies=[Depends(submitter)],
)
async def send_signal(
    run: Run,
    name: Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:-]+$")],
    who: Asker,
    services: Use,
    data: Annotated[dict[str, Any], Body(description="What it says: what the step gives.")],
    idempotency_key: SignalKey = None,
) -> wait_shapes.SignalShape:
    """Tell a run that something has happened. One that does not wait for it yet keeps it.

    The same name and key is the same signal, however often it is sent.
    """
    receipt = await services.waiting.send_signal(
        run.id, name, key=idempotency_key or str(uuid_utils.uuid7()), data=data, by=who.name,
        via="rest",
    )  # fmt: skip
    signal = receipt.signal
    return wait_shapes.SignalShape(
        run_id=run.id, number=signal.number, name=signal.name, key=signal.key,
        repeated=receipt.repeated, answers=signal.wait_id,
    )  # fmt: skip


@router.get("/runs/{run_id}/waits", operation_id="listWaits", responses=documented(404))
async def list_waits(run: Run, services: Use) -> shapes.Page[wait_shapes.WaitShape]:
    """What it waits, or has waited, for, oldest first."""
    found = await services.waiting.waits_of(run.id)
    return shapes.Page(items=[reading.wait(each) for each in found], next=None)


def _answer(record: WaitRecord, response: Response) -> wait_shapes.ApprovalShape:
    response.headers["ETag"] = reading.approval_tag(record)
    return reading.approval(record)


async def _visible(approval_id: str, who: Principal, services: Services, role: Role) -> WaitRecord:
    """It, if it exists for who asks. Raises NotAllowed, NotFound."""
    who.require(role)
    try:
        record = await services.waiting.approval(approval_id)
    except NotFound:
        raise hidden("approval", approval_id) from None
    if not who.sees(record.tenant) or record.asks is not Asks.APPROVAL:
        raise hidden("approval", approval_id)
    return record
