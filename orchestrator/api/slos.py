"""Objectives of workflows, their error budgets and alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from orchestrator.api.asking import TEXT, Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.shapes import Shape
from orchestrator.core.slo import ObjectiveKind, Source, Urgency
from orchestrator.ports import Role

router = APIRouter(route_class=LookingRoute)


class ObjectiveShape(Shape):
    """What is promised of a workflow."""

    workflow: str
    kind: ObjectiveKind
    target: float = Field(description="The part of its events that shall be good.")
    seconds: float | None = Field(description="Of latency and freshness.")
    window_days: int
    source: Source = Field(
        description="Who says so: config/slos.yaml, the workflow's document (`x-slo`), or nobody."
    )


class EventsShape(Shape):
    """Events of a window."""

    good: int
    bad: int
    total: int


class AlarmShape(Shape):
    """An error budget that burns, or burned, too fast."""

    id: str
    workflow: str
    kind: ObjectiveKind
    urgency: Urgency
    target: float
    long_seconds: int = Field(description="Its long window; the counts are of when it opened.")
    bad: int
    total: int
    burn_rate: float
    opened_at: datetime
    closed_at: datetime | None


class SloShape(Shape):
    """How one objective stands."""

    objective: ObjectiveShape
    counts: dict[int, EventsShape] = Field(
        description="By window in seconds; the longest is the budget's."
    )
    burn_rates: dict[int, float] = Field(
        description="Of the same windows; 1: the budget lasts for exactly its window."
    )
    budget_used: float = Field(description="Above 1 the objective is missed.")
    alarms: list[AlarmShape] = Field(description="Those that are open.")


class SlosShape(Shape):
    """How all objectives stand, and the alarms of the last week, newest first."""

    at: datetime
    views: list[SloShape]
    alarms: list[AlarmShape]


@router.get("/v1/slos", operation_id="showSlos", tags=["workflows"])
async def show_slos(
    who: Asker,
    services: Use,
    workflow: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="This one alone.")
    ] = None,
) -> SlosShape:
    """What is left of the error budgets of workflows, and how fast they burn."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    return SlosShape.model_validate(await services.slos.report(workflow))
