"""How APIs are now, beside how they usually are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from orchestrator.api.asking import Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.shapes import Shape
from orchestrator.ports import Role
from orchestrator.service.api_health import MINUTES, MOST_MINUTES, Trend

router = APIRouter(route_class=LookingRoute)


class QuantilesShape(Shape):
    """In seconds, off by one in a hundred at most; null where there was nothing."""

    p50: float | None
    p95: float | None
    p99: float | None


class CallsSeenShape(Shape):
    """What calls were like."""

    calls: int
    failed_share: float = Field(description="No answer, an unclear one, or a 5xx.")
    throttled_share: float = Field(description="429.")
    latency: QuantilesShape = Field(description="From the first byte out to the last one in.")
    waited_share: float = Field(description="Calls that had to wait before the gate.")
    wait: QuantilesShape = Field(description="Of these.")
    statuses: dict[str, int] = Field(description="`none`: without a complete answer.")


class ComparedShape(Shape):
    """Some calls now, and the same ones before."""

    name: str
    now: CallsSeenShape
    usual: CallsSeenShape
    trend: Trend


class ApiHealthReportShape(Shape):
    """One API, and its operations; most calls first."""

    api: str
    whole: ComparedShape
    operations: list[ComparedShape]


class ApiHealthsShape(Shape):
    """APIs that were called, by name."""

    minutes: float = Field(description="What `now` means.")
    baseline_days: float = Field(description="What `usual` means: so long before that.")
    apis: list[ApiHealthReportShape]


@router.get("/v1/api-health", operation_id="showApiHealth", tags=["apis"])
async def show_api_health(
    who: Asker,
    services: Use,
    api: Annotated[
        str | None, Query(max_length=100, description="One; default: all that were called.")
    ] = None,
    minutes: Annotated[
        float, Query(gt=0, le=MOST_MINUTES, description="How far back `now` reaches.")
    ] = MINUTES,
) -> ApiHealthsShape:
    """Quantiles of latency and of waits before the gate, shares of failures, and the trend."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    return ApiHealthsShape.model_validate(await services.api_health.of(api, minutes=minutes))
