"""Operations of the REST face about schedules; `ask` has them as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from orchestrator.api import schedule_shapes, shapes
from orchestrator.client.making import Tagged, act, given, if_as_then, look, path_of, tagged
from orchestrator.client.requests import Request, only

T = TypeVar("T")


def schedules(
    *, tenant: str | None = None
) -> Request[shapes.Page[schedule_shapes.ScheduleSummary]]:
    """All of them."""
    return look(shapes.Page[schedule_shapes.ScheduleSummary], "schedules", tenant=tenant)


def schedule(
    name: str, *, upcoming: int = 5, last: int = 20, tenant: str | None = None
) -> Request[Tagged[schedule_shapes.ScheduleDetail]]:
    """One, with its times; the tag is for `set_schedule`."""
    return Request(
        method="GET", path=path_of(["schedules", name]),
        params=given(upcoming=upcoming, last=last, tenant=tenant),
        read=tagged(only(schedule_shapes.ScheduleDetail)),
    )  # fmt: skip


def set_schedule(
    name: str,
    schedule: Mapping[str, Any],
    *,
    reason: str,
    tenant: str | None = None,
    tag: str | None = None,
) -> Request[schedule_shapes.ScheduleSummary]:
    """Make it, or replace it. With a tag: only if nothing has changed."""
    shape = schedule_shapes.ScheduleSummary
    request = act(shape, "schedules", name, schedule=schedule, reason=reason)
    # Repeated it sets the same again, unless it is held against what was read.
    return if_as_then(
        replace(request, method="PUT", params=given(tenant=tenant), repeatable=tag is None), tag
    )


def pause_schedule(
    name: str, *, reason: str, tenant: str | None = None
) -> Request[schedule_shapes.ScheduleSummary]:
    """It begins nothing until it is resumed."""
    shape = schedule_shapes.ScheduleSummary
    return _of(act(shape, "schedules", name, "pause", reason=reason), tenant)


def resume_schedule(
    name: str, *, reason: str, tenant: str | None = None
) -> Request[schedule_shapes.ScheduleSummary]:
    """It goes on with its next time."""
    shape = schedule_shapes.ScheduleSummary
    return _of(act(shape, "schedules", name, "resume", reason=reason), tenant)


def delete_schedule(
    name: str, *, reason: str, tenant: str | None = None
) -> Request[schedule_shapes.ScheduleSummary]:
    """It begins nothing any more."""
    shape = schedule_shapes.ScheduleSummary
    return _of(act(shape, "schedules", name, "delete", reason=reason), tenant)


def trigger_schedule(
    name: str, *, tenant: str | None = None
) -> Request[schedule_shapes.TimesShape]:
    """It begins one run now."""
    return _of(act(schedule_shapes.TimesShape, "schedules", name, "trigger"), tenant)


def backfill_schedule(
    name: str,
    *,
    since: datetime,
    until: datetime,
    dry_run: bool = False,
    tenant: str | None = None,
) -> Request[schedule_shapes.TimesShape]:
    """Past times that have no run are given one."""
    asked = {"since": since.isoformat(), "until": until.isoformat(), "dry_run": dry_run}
    request = act(schedule_shapes.TimesShape, "schedules", name, "backfill", **asked)
    return _of(request, tenant)


def _of(request: Request[T], tenant: str | None) -> Request[T]:
    return replace(request, params=given(tenant=tenant))
