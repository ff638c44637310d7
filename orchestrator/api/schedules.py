"""`/v1/schedules`: runs that begin by the calendar."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from orchestrator.api.asking import Asker, IfMatch, Tenant, Use, check_match
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import PreconditionFailed, documented
from orchestrator.api.schedule_shapes import (
    BackfillWish,
    ScheduleDetail,
    ScheduleSummary,
    ScheduleWish,
    TimesShape,
)
from orchestrator.api.shapes import Decide, Page
from orchestrator.errors import Conflict
from orchestrator.ports import Role
from orchestrator.ports.schedules import ScheduleRecord
from orchestrator.service.principal import Principal
from orchestrator.service.schedules import NAME
from orchestrator.service.schedules_told import record_told, view_told

router = APIRouter(route_class=LookingRoute, prefix="/v1/schedules", tags=["schedules"])

DEFAULT_TENANT = "default"

Name = Annotated[str, Path(pattern=f"^{NAME.pattern}$", description="A schedule's name.")]


@router.get("", operation_id="listSchedules")
async def list_schedules(
    who: Asker, services: Use, *, tenant: Tenant = None
) -> Page[ScheduleSummary]:
    """All, by tenant and name."""
    who.require(Role.VIEWER)
    found = await services.schedules.list(who.tenant_of(tenant))
    return Page(items=[_shape(each) for each in found])


@router.get("/{name}", operation_id="showSchedule", responses=documented(404))
async def show_schedule(
    name: Name,
    who: Asker,
    services: Use,
    response: Response,
    *,
    tenant: Tenant = None,
    upcoming: Annotated[int, Query(ge=0, le=1000)] = 5,
    last: Annotated[int, Query(ge=0, le=1000)] = 20,
) -> ScheduleDetail:
    """One, with its next times, what became of its last ones, and who changed it."""
    who.require(Role.VIEWER)
    view = await services.schedules.show(_tenant(who, tenant), name, upcoming=upcoming, last=last)
    response.headers["ETag"] = _tag(view.record)
    return ScheduleDetail.model_validate(view_told(view))


@router.put("/{name}", operation_id="setSchedule", responses=documented(404, 412))
async def set_schedule(
    name: Name,
    wish: ScheduleWish,
    who: Asker,
    services: Use,
    response: Response,
    *,
    tenant: Tenant = None,
    if_match: IfMatch = None,
) -> ScheduleSummary:
    """Make it, or have it be so from now on; one that is paused stays paused.

    With `If-Match` only one that there is, which nobody has changed since (404, 412).
    """
    who.require(Role.OPERATOR)
    whose, seen = _tenant(who, tenant), None
    if if_match is not None:
        found = (await services.schedules.show(whose, name, upcoming=0, last=0)).record
        if check_match(if_match, _tag(found), f"the schedule {name}"):
            seen = found.version
    try:
        made = await services.schedules.set(
            whose, name, wish.schedule.wanted(), by=who.name, reason=wish.reason,
            expected_version=seen,
        )  # fmt: skip
    except Conflict as error:
        if seen is None:
            raise
        raise PreconditionFailed(error.message, problems=error.problems) from error
    response.headers["ETag"] = _tag(made)
    return _shape(made)


@router.post("/{name}/pause", operation_id="pauseSchedule", responses=documented(404, 409))
async def pause_schedule(
    name: Name, wish: Decide, who: Asker, services: Use, *, tenant: Tenant = None
) -> ScheduleSummary:
    """Begin no run for it until it is resumed; runs that were begun go on."""
    who.require(Role.OPERATOR)
    return _shape(
        await services.schedules.pause(_tenant(who, tenant), name, by=who.name, reason=wish.reason)
    )


@router.post("/{name}/resume", operation_id="resumeSchedule", responses=documented(404, 409))
async def resume_schedule(
    name: Name, wish: Decide, who: Asker, services: Use, *, tenant: Tenant = None
) -> ScheduleSummary:
    """Go on with its next time; those in between are left out."""
    who.require(Role.OPERATOR)
    return _shape(
        await services.schedules.resume(_tenant(who, tenant), name, by=who.name, reason=wish.reason)
    )


@router.post("/{name}/delete", operation_id="deleteSchedule", responses=documented(404))
async def delete_schedule(
    name: Name, wish: Decide, who: Asker, services: Use, *, tenant: Tenant = None
) -> ScheduleSummary:
    """Begin nothing for it any more; its runs, and what was done to it, stay."""
    who.require(Role.ADMIN)
    return _shape(
        await services.schedules.delete(_tenant(who, tenant), name, by=who.name, reason=wish.reason)
    )


@router.post("/{name}/trigger", operation_id="triggerSchedule", responses=documented(404))
async def trigger_schedule(
    name: Name, who: Asker, services: Use, *, tenant: Tenant = None
) -> TimesShape:
    """Begin one run now, whatever goes on; its time."""
    who.require(Role.OPERATOR)
    at = await services.schedules.trigger(_tenant(who, tenant), name, by=who.name)
    return TimesShape(times=[at])


@router.post("/{name}/backfill", operation_id="backfillSchedule", responses=documented(404))
async def backfill_schedule(
    name: Name, wish: BackfillWish, who: Asker, services: Use, *, tenant: Tenant = None
) -> TimesShape:
    """Begin runs for past times that have none: one after the other, unless they may overlap."""
    who.require(Role.OPERATOR)
    found = await services.schedules.backfill(
        _tenant(who, tenant), name, since=wish.since, until=wish.until, by=who.name,
        dry_run=wish.dry_run,
    )  # fmt: skip
    return TimesShape(times=list(found))


def _tenant(who: Principal, tenant: str | None) -> str:
    return who.tenant_of(tenant) or DEFAULT_TENANT


def _tag(record: ScheduleRecord) -> str:
    return f'"{record.version}"'


def _shape(record: ScheduleRecord) -> ScheduleSummary:
    return ScheduleSummary.model_validate(record_told(record))
