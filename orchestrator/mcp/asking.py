"""Approvals that whoever an agent works for may decide, asked through the agent's own program.

Only what a workflow opens to them (`requester: true`) is asked so: the program vouches for the
answer, and nobody here can see who gave it. Newer clients are asked with the answer of a call,
which they repeat with what was said; older ones in the middle of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.elicitation import render_elicitation_schema
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)
from mcp.types.version import is_version_at_least
from pydantic import BaseModel, Field, ValidationError

from orchestrator.mcp.answers import answer
from orchestrator.ports import Decision
from orchestrator.service.agents import Actor, Agents
from orchestrator.service.standing import Approval, Standing

_ASKED_WITH_THE_ANSWER = "2026-07-28"
"""The first revision of the protocol in which a server asks nothing in the middle of a call."""
MOST_QUESTIONS = 5
"""In one call of an older client."""


class Said(BaseModel):
    """What a person fills in."""

    approve: bool = Field(description="Whether it may go on.")
    reason: str = Field(default="", description="Why; needed for a no.", max_length=1000)


async def with_approvals(
    context: Context, agents: Agents, actor: Actor, standing: Standing, *, wait_seconds: float
) -> CallToolResult | InputRequiredResult:
    """The answer of a call, once the person has said what only they can."""
    for _ in range(MOST_QUESTIONS):
        approval = standing.approval
        if approval is None or not approval.yours or not _can_ask(context):
            break
        found = await _said(context, approval)
        if isinstance(found, InputRequiredResult):
            return found
        if found is None:  # they would not decide now; others still may
            break
        decision = Decision.APPROVED if found.approve else Decision.REJECTED
        reason = found.reason or ("" if found.approve else "no reason was given")
        standing = await agents.decide(
            standing.run, approval.id, decision, reason=reason, wait_seconds=wait_seconds,
            actor=actor,
        )  # fmt: skip
    return answer(standing)


def _can_ask(context: Context) -> bool:
    """Whether the client shows forms; one that says nothing more shows them."""
    capabilities = context.client_capabilities
    asks = None if capabilities is None else capabilities.elicitation
    return asks is not None and (asks.form is not None or asks.url is None)


async def _said(context: Context, approval: Approval) -> Said | InputRequiredResult | None:
    version = context.protocol_version
    if version is None or not is_version_at_least(version, _ASKED_WITH_THE_ANSWER):
        result = await context.elicit(question_of(approval), Said)
        return result.data if result.action == "accept" else None
    responses = context.input_responses or {}
    if approval.id not in responses:
        asked = ElicitRequestFormParams(
            message=question_of(approval), requested_schema=render_elicitation_schema(Said)
        )
        return InputRequiredResult(input_requests={approval.id: ElicitRequest(params=asked)})
    return _read(responses[approval.id])


def _read(response: Any) -> Said | None:
    """Raises ToolError for what is no answer to the question."""
    if not isinstance(response, ElicitResult):
        raise ToolError("the answer about the approval is none: an elicitation's result is wanted")
    if response.action != "accept":
        return None
    try:
        return Said.model_validate(response.content or {})
    except ValidationError as error:
        fields = ", ".join(str(each["loc"][0]) for each in error.errors() if each["loc"])
        raise ToolError(f"the answer about the approval does not fit: {fields}") from error


def question_of(approval: Approval) -> str:
    """What the person reads."""
    return "\n".join([approval.message, *_lines(approval.show)])


def _lines(show: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {value}" for name, value in show.items()]
