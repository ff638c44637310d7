"""Acts on many things at once, as the REST face takes and shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from orchestrator.api.asking import LONGEST_AGE, SAYS_SOMETHING, TEXT, UUID
from orchestrator.api.moments import Moment
from orchestrator.api.shapes import Decide, Shape
from orchestrator.core.events import CancelMode
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES
from orchestrator.ports import EscalationFilter, JobItemState, JobState, RunFilter
from orchestrator.service.where import LONGEST_TEXT

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
    older_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=LONGEST_AGE)
    younger_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=LONGEST_AGE)

    def filter_of(self, tenant: str | None) -> EscalationFilter:
        """As the services take it, for this tenant alone if one is given."""
        given = self.model_dump(exclude_none=True)
        if "ids" in given:
            given["ids"] = tuple(given["ids"])
        return EscalationFilter(**{**given, "tenant": tenant})


class RunWhere(BaseModel):
    """Which runs: all conditions have to hold. At least one is needed."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Id] | None = Field(default=None, min_length=1, max_length=10_000)
    status: list[RunStatus] | None = Field(default=None, min_length=1, description="Any of these.")
    workflow: Word | None = None
    tenant: Word | None = None
    actor: Word | None = Field(default=None, description="Who submitted it.")
    attributes: dict[str, str] | None = Field(
        default=None, min_length=1, max_length=MOST_ATTRIBUTES, description="All have to hold."
    )
    text: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_TEXT, pattern=SAYS_SOMETHING,
        description="As lists take it.",
    )  # fmt: skip
    since: Moment = Field(default=None, description="Accepted then or later.")
    until: Moment = Field(default=None, description="Accepted before.")
    older_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=LONGEST_AGE)
    younger_than_seconds: float | None = Field(default=None, strict=True, ge=0, le=LONGEST_AGE)

    def filter_of(self, tenant: str | None) -> RunFilter:
        """As the services take it, for this tenant alone if one is given."""
        given = self.model_dump(exclude_none=True)
        if "ids" in given:
            given["ids"] = tuple(given["ids"])
        if "status" in given:
            given["status"] = frozenset(given["status"])
        return RunFilter(**{**given, "tenant": tenant})


W = TypeVar("W", EscalationWhere, RunWhere)


def _not_empty(where: W) -> W:
    if not where.model_fields_set:
        raise ValueError("at least one condition")
    return where


Where = Annotated[EscalationWhere, AfterValidator(_not_empty)]
RunsWhere = Annotated[RunWhere, AfterValidator(_not_empty)]


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


class RunAct(StrEnum):
    """What to do about each."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RERUN = "rerun"
    MIGRATE = "migrate"


class CountRuns(BaseModel):
    """An act and a filter to try."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"act": "cancel", "where": {"workflow": "checkout"}}]},
    )

    act: RunAct
    where: RunsWhere


class ActOnRuns(Decide):
    """An act on all runs that fit. What belongs to another act is refused."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "act": "cancel",
                    "where": {"workflow": "checkout", "younger_than_seconds": 600.0},
                    "reason": "wrong prices",
                }
            ]
        },
    )

    act: RunAct
    where: RunsWhere
    mode: CancelMode | None = Field(
        default=None,
        description="With `cancel`: `stop` leaves what is done; it takes an admin's key.",
    )
    also_undoing: bool | None = Field(
        default=None, strict=True, description="With `pause`: runs that turn back stop as well."
    )
    seconds: float | None = Field(
        default=None, strict=True, gt=0, le=315_360_000,
        description="With `pause`: each ends by itself after these.",
    )  # fmt: skip
    step: str | None = Field(
        default=None, min_length=1, max_length=200, pattern=TEXT,
        description="With `rerun`, where it is needed: to begin with. With `migrate`: to go on at;"
        " null: the one at which each waits.",
    )  # fmt: skip
    version: int | None = Field(
        default=None, strict=True, ge=1, le=2**31 - 1,
        description="With `rerun`; null: the one that each run followed. With `migrate`, where it"
        " is needed: to go on by.",
    )  # fmt: skip
    repeat_effects: bool | None = Field(
        default=None, strict=True,
        description="With `rerun`: what stands from there on may come a second time.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits_its_act(self) -> ActOnRuns:
        odd = sorted(self.arguments().keys() - _TOLD[self.act])
        if odd:
            raise ValueError(f"{self.act} takes no {', '.join(odd)}")
        if self.act is RunAct.RERUN and self.step is None:
            raise ValueError("rerun needs a step")
        if self.act is RunAct.MIGRATE and self.version is None:
            raise ValueError("migrate needs a version")
        return self

    def arguments(self) -> dict[str, Any]:
        """As the job keeps them."""
        names = set().union(*_TOLD.values())
        return self.model_dump(mode="json", include=names, exclude_none=True)


_TOLD = {
    RunAct.CANCEL: {"mode"},
    RunAct.PAUSE: {"also_undoing", "seconds"},
    RunAct.RESUME: set(),
    RunAct.RERUN: {"step", "version", "repeat_effects"},
    RunAct.MIGRATE: {"step", "version"},
}


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
