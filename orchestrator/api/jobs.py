"""`/v1/jobs`, and the acts on many escalations and runs that become jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response

from orchestrator.api import job_shapes as shapes
from orchestrator.api.asking import (
    TEXT,
    UUID,
    Asker,
    Cursor,
    IfMatch,
    Limit,
    Tenant,
    Use,
    check_match,
    hidden,
)
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Decide, Page
from orchestrator.core.events import CancelMode
from orchestrator.errors import NotFound
from orchestrator.ports import JobItemState, JobOrder, JobRecord, Role
from orchestrator.service.principal import Principal
from orchestrator.wiring_services import Services

router = APIRouter(route_class=LookingRoute, prefix="/v1", tags=["jobs"])

JobId = Annotated[str, Path(pattern=UUID, description="A job's id.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=200, pattern=TEXT,
        description="The same key with the same act is the same job; with another, 409.",
    ),
]  # fmt: skip


@router.post("/escalations:count", operation_id="countEscalations", tags=["escalations"])
async def count_escalations(wish: shapes.CountMany, who: Asker, services: Use) -> shapes.Fit:
    """How many open escalations a bulk act with this filter would be done on now."""
    who.require(Role.VIEWER)
    which = wish.where.filter_of(who.tenant_of(wish.where.tenant))
    return shapes.Fit(fit=await services.jobs.count("escalations.retry", which))


@router.post(
    "/escalations:bulk",
    operation_id="actOnEscalations",
    status_code=202,
    tags=["escalations"],
    responses=documented(404, 409),
)
async def act_on_escalations(
    wish: shapes.ActOnMany,
    who: Asker,
    services: Use,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> shapes.JobShape:
    """Act on all that fit now, as a job that workers carry out, each exactly once."""
    who.require(Role.OPERATOR)
    job = await services.jobs.start(
        f"escalations.{wish.act}",
        wish.where.filter_of(who.tenant_of(wish.where.tenant)),
        by=who.name,
        reason=wish.reason,
        arguments={} if wish.landed is None else {"landed": wish.landed},
        key=idempotency_key,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return shapes.JobShape.model_validate(job)


@router.post("/runs:count", operation_id="countRunsToActOn", tags=["runs"])
async def count_runs(wish: shapes.CountRuns, who: Asker, services: Use) -> shapes.Fit:
    """How many runs an act with this filter would be done on now."""
    who.require(Role.VIEWER)
    which = wish.where.filter_of(who.tenant_of(wish.where.tenant))
    return shapes.Fit(fit=await services.jobs.count(f"runs.{wish.act}", which))


@router.post(
    "/runs:act",
    operation_id="actOnRuns",
    status_code=202,
    tags=["runs"],
    responses=documented(404, 409),
)
async def act_on_runs(
    wish: shapes.ActOnRuns,
    who: Asker,
    services: Use,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> shapes.JobShape:
    """Act on all runs that fit now, as a job that workers carry out, each exactly once.

    `cancel` and `pause` reach runs that are going, `resume` those that are paused by themselves,
    `rerun` those that have ended, `migrate` those that wait; others that the filter fits are not
    meant.
    """
    who.require(Role.ADMIN if wish.mode is CancelMode.STOP else Role.OPERATOR)
    job = await services.jobs.start(
        f"runs.{wish.act}",
        wish.where.filter_of(who.tenant_of(wish.where.tenant)),
        by=who.name,
        reason=wish.reason,
        arguments=wish.arguments(),
        key=idempotency_key,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return shapes.JobShape.model_validate(job)


@router.get("/jobs", operation_id="listJobs")
async def list_jobs(
    who: Asker,
    services: Use,
    *,
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[shapes.JobShape]:
    """A page of jobs, newest first; with a tenant those that reach it alone."""
    who.require(Role.VIEWER)
    found = await services.jobs.list(tenant=who.tenant_of(tenant), before=cursor, limit=limit + 1)
    page = [shapes.JobShape.model_validate(each) for each in found[:limit]]
    return Page(items=page, next=page[-1].id if len(found) > limit else None)


async def visible_job(job_id: JobId, who: Asker, services: Use) -> JobRecord:
    """It, if it exists for who asks. Raises NotAllowed, NotFound."""
    who.require(Role.VIEWER)
    try:
        job = await services.jobs.show(job_id)
    except NotFound:
        raise hidden("job", job_id) from None
    if who.tenant not in (None, job.tenant):
        raise hidden("job", job_id)
    return job


async def operator(who: Asker) -> Principal:
    """Raises NotAllowed for who is none; before anything is looked up."""
    who.require(Role.OPERATOR)
    return who


Operator = Annotated[Principal, Depends(operator)]
Job = Annotated[JobRecord, Depends(visible_job)]


@router.get("/jobs/{job_id}", operation_id="showJob", responses=documented(404))
async def show_job(job: Job, response: Response) -> shapes.JobShape:
    """One, and how far it has come. Its ETag is another once somebody has ordered something."""
    response.headers["ETag"] = _tag_of(job)
    return shapes.JobShape.model_validate(job)


@router.get("/jobs/{job_id}/items", operation_id="listJobItems", responses=documented(404))
async def list_job_items(
    job: Job,
    services: Use,
    *,
    state: Annotated[JobItemState | None, Query(description="Those that stand so.")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[shapes.JobItemShape]:
    """Its things in order of their ids, and what came of each."""
    found = await services.jobs.items(job.id, state=state, after=cursor, limit=limit + 1)
    page = [shapes.JobItemShape.model_validate(each) for each in found[:limit]]
    return Page(items=page, next=page[-1].item if len(found) > limit else None)


_ORDERED: Mapping[str, Any] = {"responses": documented(404, 409, 412)}


@router.post("/jobs/{job_id}/pause", operation_id="pauseJob", **_ORDERED)
async def pause_job(
    wish: Decide, who: Operator, job: Job, services: Use, if_match: IfMatch = None
) -> shapes.JobShape:
    """Hold it. Once this is answered nothing more is acted on."""
    return await _ordered(JobOrder.PAUSE, wish, who, job, services, if_match)


@router.post("/jobs/{job_id}/resume", operation_id="resumeJob", **_ORDERED)
async def resume_job(
    wish: Decide, who: Operator, job: Job, services: Use, if_match: IfMatch = None
) -> shapes.JobShape:
    """Let it go on."""
    return await _ordered(JobOrder.RESUME, wish, who, job, services, if_match)


@router.post("/jobs/{job_id}/cancel", operation_id="cancelJob", **_ORDERED)
async def cancel_job(
    wish: Decide, who: Operator, job: Job, services: Use, if_match: IfMatch = None
) -> shapes.JobShape:
    """End it. What it has done stays done; once this is answered nothing more is acted on."""
    return await _ordered(JobOrder.CANCEL, wish, who, job, services, if_match)


async def _ordered(
    order: JobOrder,
    wish: Decide,
    who: Principal,
    job: JobRecord,
    services: Services,
    if_match: str | None,
) -> shapes.JobShape:
    held = check_match(if_match, _tag_of(job), "the job")
    changed = await services.jobs.order(
        job.id, order, by=who.name, reason=wish.reason, seen=job if held else None
    )
    return shapes.JobShape.model_validate(changed)


def _tag_of(job: JobRecord) -> str:
    """How people left it; its progress is not part of what an order is based on."""
    return f'"{job.state}.{len(job.orders)}"'
