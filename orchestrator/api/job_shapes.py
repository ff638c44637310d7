"""Acts on many things at once, as the REST face takes and shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from orchestrator.api.asking import TEXT, UUID
from orchestrator.api.shapes import Decide, Shape
from orchestrator.core.saga import EscalationReason
from orchestrator.ports import EscalationFilter, JobItemState, JobState

_LONGEST_AGE = 3_153_600_000.0  # seconds in a hundred years
Word = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=TEXT)]
Id = Annotated[str, StringConstraints(pattern=UUID)]


class EscalationAct(StrEnum):
    """What to do about each."""

    RETRY = "retry"
    CONFIRM = "confirm"  # what somebody else has proposed about each
    RESOLVE = "resolve"
    SKIP = "skip"
    ABANDON = "abandon"


class EscalationWhere(BaseModel):
    """Which open escalations: all conditions have to hold. At least one is needed."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Id] | None = Field(default=None, min_length=1, max_length=10_000)
    tenant: Word | None = None
    workflow: Word | None = None
    api: Word | None = Field(default=None, description="Of the link that is stuck.")
    step: Word | None = None
    reason: EscalationReason | None = None
    detail: Word | None = Field(default=None, description="Is somewhere in it.")
    claimed: bool | None = Field(
        default=None, strict=True, description="null: only what nobody has taken."
    )
    claimed_by: Word | None = None
    older_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=_LONGEST_AGE)
    younger_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=_LONGEST_AGE)

    def filter_of(self, tenant: str | None) -> EscalationFilter:
        """As the services take it, for this tenant alone if one is given."""
        given = self.model_dump(exclude_none=True)
        if "ids" in given:
            given["ids"] = tuple(given["ids"])
        return EscalationFilter(**{**given, "tenant": tenant})


def _not_empty(where: EscalationWhere) -> EscalationWhere:
    if not where.model_fields_set:
        raise ValueError("at least one condition")
    return where


Where = Annotated[EscalationWhere, AfterValidator(_not_empty)]


class CountMany(BaseModel):
    """A filter to try."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"where": {"api": "payments"}}]}
    )

    where: Where


class Fit(Shape):
    """How many an act would be done on now."""

    fit: int


class ActOnMany(Decide):
    """An act on all escalations that fit."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"act": "retry", "where": {"api": "payments"}, "reason": "payments is back"}
            ]
        },
    )

    act: EscalationAct
    where: Where
    landed: bool | None = Field(
        default=None, strict=True,
        description="With `resolve`; false: the calls certainly did nothing.",
    )  # fmt: skip


class JobOrderShape(Shape):
    """What somebody wanted of a job that was under way."""

    at: datetime
    by: str
    order: str
    reason: str


class JobShape(Shape):
    """An act on many things, and how far it has come."""

    id: str
    kind: str = Field(examples=["escalations.retry"])
    tenant: str | None = Field(description="The only one it reaches; null: all.")
    where: dict[str, Any]
    arguments: dict[str, Any]
    by: str
    reason: str
    state: JobState
    total: int
    done: int
    proposed: int = Field(description="Of those that are done: a second person has to confirm.")
    refused: int
    pending: int
    created_at: datetime
    ended_at: datetime | None
    orders: list[JobOrderShape]


class JobItemShape(Shape):
    """One thing of a job, and what came of it."""

    item: str
    state: JobItemState
    outcome: str = Field(description="The run's status, or why the act was refused.")
    at: datetime | None
