"""Operations of the REST face for software agents and their policies; `ask` has them as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.api import agent_shapes, shapes
from orchestrator.api.tools import Tools
from orchestrator.client.making import Tagged, act, given, if_as_then, look, path_of, tagged
from orchestrator.client.requests import Request, only

T = TypeVar("T")


def tools(
    shape: str = "openai", *, question: str = "", limit: int | None = None,
    tenant: str | None = None,
) -> Request[Tools]:  # fmt: skip
    """Workflows as tools for a model, and which workflow each stands for.

    `shape`: openai, openai-responses, anthropic or mcp.
    """
    wanted = given(shape=shape, question=question or None, limit=limit, tenant=tenant)
    return Request(method="GET", path=path_of(["tools"]), params=wanted, read=only(Tools))


def agents(*, tenant: str | None = None) -> Request[shapes.Page[agent_shapes.AgentShape]]:
    """All that have a policy."""
    return look(shapes.Page[agent_shapes.AgentShape], "agents", tenant=tenant)


def agent(name: str, *, tenant: str | None = None) -> Request[Tagged[agent_shapes.AgentDetail]]:
    """One, with what was used; the tag is for `set_agent_policy`."""
    return Request(
        method="GET", path=path_of(["agents", name]), params=given(tenant=tenant),
        read=tagged(only(agent_shapes.AgentDetail)),
    )  # fmt: skip


def agent_changes(
    name: str, *, tenant: str | None = None
) -> Request[shapes.Page[agent_shapes.AgentChangeShape]]:
    """What was changed, newest first."""
    shape = shapes.Page[agent_shapes.AgentChangeShape]
    return look(shape, "agents", name, "history", tenant=tenant)


def set_agent_policy(
    name: str,
    policy: Mapping[str, Any],
    *,
    reason: str,
    tenant: str | None = None,
    tag: str | None = None,
) -> Request[agent_shapes.AgentShape]:
    """Give it these rules, instead of its own. With a tag: only if nothing has changed."""
    request = act(agent_shapes.AgentShape, "agents", name, policy=policy, reason=reason)
    # Repeated it sets the same again, unless it is held against what was read.
    return if_as_then(
        replace(request, method="PUT", params=given(tenant=tenant), repeatable=tag is None), tag
    )


def stop_agent(
    name: str, *, reason: str, runs: str = "leave", tenant: str | None = None
) -> Request[agent_shapes.StoppedShape]:
    """It begins nothing more. `runs`: "cancel" undoes those that are under way."""
    request = act(agent_shapes.StoppedShape, "agents", name, "stop", reason=reason, runs=runs)
    return _of(request, tenant)


def allow_agent(
    name: str, *, reason: str, tenant: str | None = None
) -> Request[agent_shapes.AgentShape]:
    """End its stop."""
    return _of(act(agent_shapes.AgentShape, "agents", name, "allow", reason=reason), tenant)


def remove_agent_policy(
    name: str, *, reason: str, tenant: str | None = None
) -> Request[agent_shapes.AgentShape]:
    """Take its rules away."""
    return _of(act(agent_shapes.AgentShape, "agents", name, "remove", reason=reason), tenant)


def _of(request: Request[T], tenant: str | None) -> Request[T]:
    return replace(request, params=given(tenant=tenant))
