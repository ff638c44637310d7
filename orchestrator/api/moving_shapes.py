"""Runs that go on by another version, and acts that are tried, as the REST face has them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.api.asking import TEXT
from orchestrator.api.job_shapes import RunsWhere
from orchestrator.api.shapes import Decide, Shape, VersionChange


class MigrateWish(Decide):
    """A waiting run is to go on by another version."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"to": 4, "reason": "a fixed undo"}]}
    )

    to: int = Field(strict=True, ge=1, le=2**31 - 1, description="The version.")
    step: str | None = Field(
        default=None, min_length=1, max_length=200, pattern=TEXT,
        description="To go on at; null: the one at which it waits.",
    )  # fmt: skip


class ObstacleShape(Shape):
    """Why something cannot be done."""

    place: str
    found: str
    wanted: str


class MigrationShape(Shape):
    """What a move would be. Nothing was written."""

    run_id: str
    workflow: str
    version: int = Field(description="That it follows.")
    to: int
    step: str = Field(description="At which it would go on; empty: no such step is known.")
    keeps_waiting: bool = Field(description="It waits on as before; else it goes on at once.")
    changes: list[VersionChange] = Field(description="Between the two versions.")
    passed_over: list[str] = Field(description="Steps before that one which it has not done.")
    left_out: list[str] = Field(description="Outputs of the version that it will not have.")
    problems: list[ObstacleShape] = Field(description="All that stands against it.")


class RerunLookShape(Shape):
    """What running again would be. Nothing was written."""

    run_id: str
    version: int = Field(description="By which the new run would go.")
    takes_over: list[str] = Field(description="Steps that it would not do again.")
    does: list[str] = Field(description="Steps that it would do.")
    twice: list[str] = Field(description="Of those, whose effects stand, or may.")
    problems: list[ObstacleShape] = Field(description="All that stands against it.")


class CheckRuns(BaseModel):
    """An act on all runs that fit, to be tried on each."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"act": "migrate", "where": {"workflow": "checkout"}, "version": 4}]
        },
    )

    act: str = Field(pattern="^(migrate|rerun)$", description="`migrate` or `rerun`.")
    where: RunsWhere
    step: str | None = Field(default=None, min_length=1, max_length=200, pattern=TEXT)
    version: int | None = Field(default=None, strict=True, ge=1, le=2**31 - 1)
    repeat_effects: bool | None = Field(default=None, strict=True, description="With `rerun`.")

    @model_validator(mode="after")
    def _fits_its_act(self) -> CheckRuns:
        if self.act == "migrate" and self.version is None:
            raise ValueError("migrate needs a version")
        if self.act == "migrate" and self.repeat_effects is not None:
            raise ValueError("migrate takes no repeat_effects")
        if self.act == "rerun" and self.step is None:
            raise ValueError("rerun needs a step")
        return self

    def arguments(self) -> dict[str, object]:
        """As a job keeps them."""
        return self.model_dump(exclude={"act", "where"}, exclude_none=True)


class RefusedShape(Shape):
    """A run that the act would be refused for."""

    run_id: str
    problems: list[ObstacleShape]


class CheckedShape(Shape):
    """What came of it. Nothing was written."""

    fit: int
    looked_at: int = Field(description="The newest of them.")
    can: int = Field(description="Of these, how many the act would be done on.")
    refused: list[RefusedShape]
