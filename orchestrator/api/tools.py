"""`/v1/tools`: workflows as tools, for programs that call a model themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from orchestrator.api.asking import TEXT, Asker, Tenant, Use
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Shape
from orchestrator.definitions.agent_policies import DEFAULT_TENANT
from orchestrator.ports import Role
from orchestrator.service.agents import Actor
from orchestrator.service.tools import ToolShape, tools_of

router = APIRouter(prefix="/v1/tools", tags=["agents"])

MOST_TOOLS = 128
"""What providers take at most with one question."""


class Tools(Shape):
    """Tools, and the workflow that each stands for."""

    tools: list[dict[str, Any]] = Field(description="To be given to the model as they are.")
    workflows: dict[str, str] = Field(
        description="By name of a tool: what to submit, with the call's arguments as inputs and "
        "the id of the call as Idempotency-Key."
    )


@router.get("", operation_id="listTools", responses=documented())
async def list_tools(
    who: Asker,
    services: Use,
    *,
    shape: Annotated[ToolShape, Query(description="Whose function calling.")] = ToolShape.OPENAI,
    question: Annotated[
        str, Query(max_length=1000, pattern=TEXT, description="What is to be done; empty: all.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_TOOLS, description="The best first.")] = 20,
    tenant: Tenant = None,
) -> Tools:
    """Workflows that the caller may have run, by the policies of agents too, each as a tool."""
    who.require(Role.SUBMITTER)
    actor = Actor(name=who.name, tenant=who.tenant_of(tenant) or DEFAULT_TENANT)
    found = tools_of(await services.agents.offered(question, limit=limit, actor=actor), shape)
    return Tools(
        tools=[dict(each.schema) for each in found],
        workflows={each.name: each.workflow for each in found},
    )
