"""How the deployment stands, for Prometheus. Workers serve what they do themselves."""

from __future__ import annotations

from fastapi import APIRouter, Response

from orchestrator.api.asking import Asker, Use
from orchestrator.api.problems import documented
from orchestrator.ports import Role
from orchestrator.telemetry.system_metrics import CONTENT_TYPE, exposed

router = APIRouter()


@router.get(
    "/metrics", operation_id="showMetrics", tags=["health"], response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 403),
    },
)  # fmt: skip
async def show_metrics(who: Asker, services: Use) -> Response:
    """Runs, escalations, queues, workers, database and broker in Prometheus' text format."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    return Response(exposed(await services.measuring.read()), media_type=CONTENT_TYPE)
