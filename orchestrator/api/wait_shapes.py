"""Shapes of what runs wait for, and of what stops them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.shapes import Shape
from orchestrator.ports import Asks, Decision, WaitOutcome
from orchestrator.ports.pauses import scope_of


class WaitShape(Shape):
    """An answer that a run waits, or has waited, for."""

    id: str
    run_id: str
    step_id: str
    attempt: int
    asks: Asks
    signal: str | None = Field(description="The name of the signal; null for an approval.")
    opened_at: datetime
    expires_at: datetime | None
    reminders: int
    closed_at: datetime | None
    outcome: WaitOutcome | None = Field(description="null while an answer still counts.")
    answer: dict[str, Any] | None
    closed_by: str | None
    via: str | None


class ApprovalShape(WaitShape):
    """What a person is asked."""

    workflow: str
    tenant: str
    message: str
    show: dict[str, Any]
    roles: list[str] = Field(description="Who may decide, and whoever may do all that these may.")

    @property
    def asked(self) -> dict[str, Any]:
        """As the record has it; no field of the document."""
        return {"message": self.message, "show": self.show, "roles": self.roles}


class MakeLink(BaseModel):
    """An address at which one person decides, without a key."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Ada Lovelace", "hours": 24}]}
    )

    name: str = Field(
        min_length=1, max_length=200, pattern=r"\S", description="Who will decide with it."
    )
    hours: float = Field(default=72.0, gt=0, le=90 * 24, description="How long it is good.")


class LinkMade(Shape):
    """Whoever has it can decide, once."""

    url: str


class DecideApproval(BaseModel):
    """An answer to what is asked."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"decision": "approved", "reason": "within budget"}]},
    )

    decision: Decision
    reason: str = Field(
        default="", max_length=2000, pattern=r"^[^\x00]*$",
        description="Why; wanted where it is rejected.",
    )  # fmt: skip
    data: dict[str, Any] = Field(
        default_factory=dict, description="Goes to the run with the decision."
    )


class SignalShape(Shape):
    """What became of a signal."""

    run_id: str
    number: int = Field(description="In order of arrival at this run.")
    name: str
    key: str
    repeated: bool = Field(description="It was there already, and nothing has changed.")
    answers: str | None = Field(description="The wait that it answered; null: it is kept.")


class PauseShape(Shape):
    """A pause. While `ended_at` is null and `until` has not come, it holds."""

    id: str
    run_id: str | None
    workflow: str | None
    tenant: str | None
    also_undoing: bool
    by: str
    reason: str
    since: datetime
    until: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    ending_reason: str | None

    @property
    def scope(self) -> str:
        """In words; no field of the document."""
        return scope_of(self.run_id, self.workflow, self.tenant)
