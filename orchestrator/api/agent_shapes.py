"""Policies of software agents, as the REST face takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from orchestrator.api.job_shapes import JobShape
from orchestrator.api.shapes import Decide, Shape
from orchestrator.ports import PolicyChangeKind, UnderWay


class PolicyWish(Decide):
    """The rules that are to hold from now on, instead of those that do."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "policy": {
                        "allow": ["order*"], "rates": ["10/minute"], "budgets": ["500 EUR/day"],
                        "approve": {"above": ["100 EUR"]},
                    },
                    "reason": "first week",
                }
            ]
        },
    )  # fmt: skip

    policy: dict[str, Any] = Field(description="As in a file of policies; empty: all is allowed.")


class StopWish(Decide):
    """The agent is to begin nothing more."""

    runs: UnderWay = Field(
        default=UnderWay.LEAVE,
        description="What becomes of its runs that are under way: left, or undone by a job.",
    )


class StopShape(Shape):
    """An agent was stopped."""

    by: str
    at: datetime
    reason: str


class AgentShape(Shape):
    """An agent's policy as it holds now."""

    agent: str = Field(description="Its actor's name; `*`: all agents of the tenant together.")
    tenant: str
    version: int = Field(description="Of its latest change.")
    changed_at: datetime
    removed: bool
    stopped: StopShape | None
    policy: dict[str, Any] = Field(description="As in a file of policies.")


class LeftShape(Shape):
    """What is left of a budget."""

    budget: str = Field(examples=["500 EUR/day"])
    left: str = Field(description="Runs, or an amount.")
    until: datetime


class AgentDetail(AgentShape):
    """The same, with what was used."""

    left: list[LeftShape]
    used: dict[str, dict[str, str]] = Field(
        description="By `runs` or a currency, and `day` or `month` (UTC): what was spent.",
        examples=[{"runs": {"day": "3", "month": "40"}, "EUR": {"month": "120.5"}}],
    )


class StoppedShape(AgentShape):
    """The same, with the job that cancels its runs."""

    job: JobShape | None = Field(description="null: they are left, or there are none.")


class AgentChangeShape(Shape):
    """A change of a policy."""

    version: int
    kind: PolicyChangeKind
    at: datetime
    by: str
    reason: str
    policy: dict[str, Any] = Field(description="What held from then on.")
