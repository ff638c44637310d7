"""What the history of a workflow says about its settings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from orchestrator.api.asking import Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Shape
from orchestrator.api.workflows import Name
from orchestrator.core.insights import InsightKind
from orchestrator.ports import Role
from orchestrator.service.insights import DAYS, MOST_DAYS

router = APIRouter(route_class=LookingRoute)


class ChangeShape(Shape):
    """One field of a document or file: what stands there, and what should."""

    place: str
    field: str
    before: str
    after: str


class InsightShape(Shape):
    """One finding: about a step or an API, why, and what to do."""

    id: str
    kind: InsightKind
    about: str
    said: str
    evidence: dict[str, float | int | str]
    runs: list[str] = Field(description="Some of those in which it was so.")
    change: ChangeShape | None
    diff: str = Field(description="The change as a unified difference; empty where there is none.")
    undone: str = Field(description="Why there is no difference, although there is a change.")


class InsightsShape(Shape):
    """Of which runs it is told, and what was found."""

    workflow: str
    version: int
    since: datetime
    runs: int = Field(description="The newest ones that went straight through the plan.")
    attempts: int
    insights: list[InsightShape]


@router.get(
    "/v1/workflows/{name}/insights", operation_id="showInsights", tags=["workflows"],
    responses=documented(404),
)  # fmt: skip
async def show_insights(
    name: Name,
    who: Asker,
    services: Use,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Default: the latest.")
    ] = None,
    days: Annotated[float, Query(gt=0, le=MOST_DAYS, description="How far to look back.")] = DAYS,
) -> InsightsShape:
    """What fails and why, retries in vain, limits that do not fit; with what to change."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    return InsightsShape.model_validate(await services.insights.of(name, version, days=days))
