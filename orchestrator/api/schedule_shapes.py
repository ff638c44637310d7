"""Schedules, as the REST face takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, ConfigDict, Field

from orchestrator.api.asking import TEXT
from orchestrator.api.shapes import Decide, Shape
from orchestrator.core.schedules import (
    CatchUp,
    FiringKind,
    FiringState,
    Overlap,
    Rhythm,
    Schedule,
)
from orchestrator.ports.schedules import ScheduleChangeKind

_LONGEST_SECONDS = 366 * 86_400


class ScheduleShape(Shape):
    """What is to run, and when: `cron` with `zone`, or `every_seconds`."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    workflow: str = Field(min_length=1, max_length=200, pattern=TEXT)
    version: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="null: whenever a run begins the one that `stable` names, else the latest.",
    )
    cron: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        examples=["30 2 * * MON-FRI"],
        description="Minute, hour, day, month, weekday; seconds may go before.",
    )
    zone: str = Field(default="UTC", max_length=100, examples=["Europe/Berlin"])
    every_seconds: int | None = Field(default=None, ge=1, le=_LONGEST_SECONDS)
    starts_at: AwareDatetime | None = Field(
        default=None, description="No run before; of an interval: its first time."
    )
    ends_at: AwareDatetime | None = Field(default=None, description="No run after.")
    inputs: dict[str, Any] = Field(default_factory=dict)
    time_input: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        pattern=TEXT,
        description="The input that is given the time, as text.",
    )
    attributes: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(default=0, ge=-1000, le=1000)
    deadline_seconds: float | None = Field(default=None, gt=0, le=_LONGEST_SECONDS)
    overlap: Overlap = Field(
        default=Overlap.SKIP, description="What of a time while an earlier run goes on."
    )
    catch_up: CatchUp = Field(
        default=CatchUp.LAST,
        description="Which times are made up for at which no worker was there.",
    )
    catch_up_seconds: float = Field(default=86_400.0, ge=0, le=_LONGEST_SECONDS)
    jitter_seconds: float = Field(default=0.0, ge=0, le=86_400)

    def wanted(self) -> Schedule:
        """As the core has it."""
        rhythm = Rhythm(
            cron=self.cron, zone=self.zone, every_seconds=self.every_seconds,
            starts_at=self.starts_at, ends_at=self.ends_at,
        )  # fmt: skip
        return Schedule(
            workflow=self.workflow, version=self.version, rhythm=rhythm, inputs=self.inputs,
            time_input=self.time_input, attributes=self.attributes, priority=self.priority,
            deadline_seconds=self.deadline_seconds, overlap=self.overlap, catch_up=self.catch_up,
            catch_up_seconds=self.catch_up_seconds, jitter_seconds=self.jitter_seconds,
        )  # fmt: skip


class ScheduleWish(Decide):
    """A schedule is to be so from now on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "schedule": {
                        "workflow": "report", "cron": "30 2 * * *", "zone": "Europe/Berlin",
                        "inputs": {"kind": "full"},
                    },
                    "reason": "the books close at two",
                }
            ]
        },
    )  # fmt: skip

    schedule: ScheduleShape


class BackfillWish(Shape):
    """Past times that have no run are to have one."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    since: AwareDatetime
    until: AwareDatetime = Field(description="It has come.")
    dry_run: bool = Field(default=False, description="Say which, begin none.")


class ScheduleSummary(Shape):
    """A schedule as it is now."""

    name: str
    tenant: str
    version: int = Field(description="Of its latest change.")
    times: str = Field(examples=["30 2 * * * in Europe/Berlin"])
    paused: bool
    next_at: datetime | None = Field(description="null: paused, or over.")
    changed_at: datetime
    changed_by: str
    reason: str
    schedule: ScheduleShape


class FiringShape(Shape):
    """What became of a time, or of all from `since` on."""

    at: datetime
    since: datetime | None
    kind: FiringKind
    state: FiringState
    run_id: str | None
    reason: str
    decided_at: datetime


class ScheduleChangeShape(Shape):
    """A change of a schedule."""

    version: int
    kind: ScheduleChangeKind
    at: datetime
    by: str
    reason: str
    schedule: ScheduleShape


class ScheduleDetail(ScheduleSummary):
    """The same, with its next times, what became of its last ones, and its history."""

    upcoming: list[datetime]
    firings: list[FiringShape]
    changes: list[ScheduleChangeShape]


class TimesShape(Shape):
    """Times of a schedule."""

    times: list[datetime]
