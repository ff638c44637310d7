"""Whom an API touches, and what if it is away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from orchestrator.api.asking import Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Shape
from orchestrator.api.system import ApiName
from orchestrator.ports import Role
from orchestrator.service.impact import LONGEST_OUTAGE_SECONDS, OUTAGE_SECONDS

router = APIRouter(route_class=LookingRoute)

Outage = Annotated[
    float, Query(gt=0, le=LONGEST_OUTAGE_SECONDS, description="What if it is away for so long.")
]


class CountsShape(Shape):
    """Numbers of runs that are not final. One may count as ahead, past and undo at once."""

    affected: int = Field(description="Blocked, ahead or undo.")
    blocked: int = Field(description="The link at which they stand calls it.")
    parked: int = Field(description="Of these: told by the gate to come back.")
    ahead: int = Field(description="A later step of theirs calls it.")
    past: int = Field(description="A step that happened called it.")
    undo: int = Field(description="They go back, or would, through an undo that calls it.")
    waiting: int = Field(description="If it is away: go forward and have the time to wait.")
    turning_back: int = Field(description="If it is away: reach their deadline first.")
    escalating: int = Field(description="The same past their pivot: a person decides.")
    undo_waiting: int = Field(description="If it is away: cannot finish going back.")


class ImpactShape(Shape):
    """The blast radius of one API."""

    api: str
    at: datetime
    outage_seconds: float
    active: int = Field(description="Runs that are not final, touched or not.")
    total: CountsShape
    by_workflow: dict[str, CountsShape]
    by_tenant: dict[str, CountsShape]


@router.get(
    "/v1/apis/{api}/impact", operation_id="showImpact", tags=["apis"],
    responses=documented(404),
)  # fmt: skip
async def show_impact(
    api: ApiName, who: Asker, services: Use, outage_seconds: Outage = OUTAGE_SECONDS
) -> ImpactShape:
    """Which runs wait for it, will need it, have used it, and would undo through it."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    found = await services.impacts.of(api, outage_seconds=outage_seconds)
    return ImpactShape.model_validate(found)
