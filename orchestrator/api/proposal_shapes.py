"""Shapes of proposals: what one person wants done and a second one confirms."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.shapes import Shape
from orchestrator.core.states import RunStatus
from orchestrator.ports import ProposalOutcome, Subject


class ProposalShape(Shape):
    """What one person wants done, until a second one confirms or refuses it."""

    id: str
    run_id: str
    workflow: str
    tenant: str
    subject: Subject
    subject_id: str = Field(description="Of the escalation or approval; of an edit the step's id.")
    act: str = Field(examples=["abandoned"])
    arguments: dict[str, Any]
    reason: str
    proposed_by: str
    via: str
    proposed_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    outcome: ProposalOutcome | None = Field(description="null: nobody has decided yet.")
    closed_by: str | None
    closing_reason: str | None


class Confirm(BaseModel):
    """A second person's yes."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=2000, pattern=r"^[^\x00]*$")


class Refuse(BaseModel):
    """Anybody's no."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(
        min_length=1, max_length=2000, pattern=r"\S", description="Why; kept in the audit."
    )


class ConfirmedShape(Shape):
    """A proposal that was done, and what its run is now."""

    proposal: ProposalShape
    run_status: RunStatus


class EditWish(BaseModel):
    """Other values for what a step sends."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"step": "ship", "set": {"address": "7 Elm St"}, "reason": "they moved"}]
        },
    )

    step: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    set: dict[str, Any] = Field(
        min_length=1, max_length=100,
        description="By name of a parameter or of a field, or by JSON pointer into the payload.",
    )  # fmt: skip
    reason: str = Field(
        min_length=1, max_length=2000, pattern=r"\S", description="Why; kept in the audit."
    )
