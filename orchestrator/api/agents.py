"""`/v1/agents`: what software agents may do, and stopping them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from orchestrator.api.agent_shapes import (
    AgentChangeShape,
    AgentDetail,
    AgentShape,
    PolicyWish,
    StoppedShape,
    StopWish,
)
from orchestrator.api.asking import TEXT, Asker, IfMatch, Tenant, Use, check_match
from orchestrator.api.job_shapes import JobShape
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import PreconditionFailed, documented
from orchestrator.api.shapes import Decide, Page
from orchestrator.definitions.agent_policies import DEFAULT_TENANT, policy_of
from orchestrator.errors import Conflict
from orchestrator.ports import Agent, PolicyRecord, Role
from orchestrator.service.agent_policies import LONGEST_NAME
from orchestrator.service.agents_told import change_told, policy_told, view_told
from orchestrator.service.principal import Principal

router = APIRouter(route_class=LookingRoute, prefix="/v1/agents", tags=["agents"])

Name = Annotated[
    str,
    Path(
        min_length=1, max_length=LONGEST_NAME, pattern=TEXT,
        description="An agent: its actor's name; `*`: all agents of the tenant together.",
    ),
]  # fmt: skip


@router.get("", operation_id="listAgents")
async def list_agents(who: Asker, services: Use, *, tenant: Tenant = None) -> Page[AgentShape]:
    """All that have a policy, by tenant and name."""
    who.require(Role.VIEWER)
    found = await services.policies.list(who.tenant_of(tenant))
    return Page(items=[AgentShape.model_validate(policy_told(each)) for each in found])


@router.get("/{agent}", operation_id="showAgent", responses=documented(404))
async def show_agent(
    agent: Name, who: Asker, services: Use, response: Response, *, tenant: Tenant = None
) -> AgentDetail:
    """One policy, with what is left of its budgets and what was used."""
    who.require(Role.VIEWER)
    view = await services.policies.show(_agent(agent, who, tenant))
    response.headers["ETag"] = _tag(view.record)
    return AgentDetail.model_validate(view_told(view))


@router.get("/{agent}/history", operation_id="listAgentChanges")
async def list_changes(
    agent: Name, who: Asker, services: Use, *, tenant: Tenant = None
) -> Page[AgentChangeShape]:
    """The newest 50 changes, newest first, with who and why."""
    who.require(Role.VIEWER)
    found = await services.policies.history(_agent(agent, who, tenant))
    return Page(items=[AgentChangeShape.model_validate(change_told(each)) for each in found])


@router.put("/{agent}", operation_id="setAgentPolicy", responses=documented(404, 412))
async def set_policy(
    agent: Name,
    wish: PolicyWish,
    who: Asker,
    services: Use,
    response: Response,
    *,
    tenant: Tenant = None,
    if_match: IfMatch = None,
) -> AgentShape:
    """Give an agent a policy, instead of the one that it has; a stop goes on.

    With `If-Match` only one that has a policy, which nobody has changed since (404, 412).
    """
    who.require(Role.ADMIN)
    whose = _agent(agent, who, tenant)
    policy = policy_of(wish.policy, "body /policy")
    seen = None
    if if_match is not None:
        found = await services.policies.show(whose)
        if check_match(if_match, _tag(found.record), f"the policy of {agent}"):
            seen = found.record.version
    try:
        made = await services.policies.set(
            whose, policy, by=who.name, reason=wish.reason, seen=seen
        )
    except Conflict as error:  # somebody was faster, since we looked
        raise PreconditionFailed(error.message, problems=error.problems) from error
    response.headers["ETag"] = _tag(made)
    return AgentShape.model_validate(policy_told(made))


@router.post("/{agent}/stop", operation_id="stopAgent", responses=documented(409))
async def stop_agent(
    agent: Name, wish: StopWish, who: Asker, services: Use, *, tenant: Tenant = None
) -> StoppedShape:
    """From this moment on it finds nothing and begins nothing, until it is allowed again."""
    who.require(Role.OPERATOR)
    done = await services.policies.stop(
        _agent(agent, who, tenant), by=who.name, reason=wish.reason, runs=wish.runs
    )
    job = None if done.job is None else JobShape.model_validate(done.job)
    return StoppedShape.model_validate({**policy_told(done.record), "job": job})


@router.post("/{agent}/allow", operation_id="allowAgent", responses=documented(404, 409))
async def allow_agent(
    agent: Name, wish: Decide, who: Asker, services: Use, *, tenant: Tenant = None
) -> AgentShape:
    """End its stop; its rules hold again."""
    who.require(Role.OPERATOR)
    made = await services.policies.allow(
        _agent(agent, who, tenant), by=who.name, reason=wish.reason
    )
    return AgentShape.model_validate(policy_told(made))


@router.post("/{agent}/remove", operation_id="removeAgentPolicy", responses=documented(404, 409))
async def remove_policy(
    agent: Name, wish: Decide, who: Asker, services: Use, *, tenant: Tenant = None
) -> AgentShape:
    """Take its rules away; their history is kept."""
    who.require(Role.ADMIN)
    made = await services.policies.remove(
        _agent(agent, who, tenant), by=who.name, reason=wish.reason
    )
    return AgentShape.model_validate(policy_told(made))


def _agent(name: str, who: Principal, tenant: str | None) -> Agent:
    return Agent(who.tenant_of(tenant) or DEFAULT_TENANT, name)


def _tag(record: PolicyRecord) -> str:
    return f'"{record.version}"'
