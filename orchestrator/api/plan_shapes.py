"""What is asked of, and told by, a dry run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.shapes import Shape, Submit
from orchestrator.ports.dry_runs import DryRun, Mode


class DryRunWish(Submit):
    """A run that is only thought through."""

    mode: Mode = Field(
        default=Mode.DRY_RUN,
        description="`dry_run`: nothing is sent. `dry_run_reads`: what only reads (GET and HEAD"
        " without effects) is asked once, where the setting `dry_run_reads` allows it. `simulate`:"
        " played to its end on the engine, with answers that are made up or recorded.",
    )
    fail_at: str | None = Field(
        default=None, min_length=1, max_length=200,
        description="`simulate`: the step that is refused, so that one sees what is undone.",
    )  # fmt: skip
    recorded: str | None = Field(
        default=None, min_length=6, max_length=64,
        description="`simulate`: a run that has ended, of the same workflow and tenant, whose"
        " answers are taken as far as its steps have read them.",
    )  # fmt: skip


class PlannedLink(Shape):
    """A step as it would be done. What only an answer tells stands in it by its name."""

    step: str
    sends: str | None = Field(
        default=None, description="Method and address.", examples=["PUT https://api.example/x/1"]
    )
    calls: str | None = Field(default=None, description="The function, or what cannot be told yet.")
    headers: dict[str, str] | None = None
    body: Any = None
    waits_for: str | None = Field(default=None, description="What it waits for, and is `asked`.")
    asked: Any = None
    begins_a_run_of: str | None = Field(default=None, description="With these `inputs`.")
    inputs: Any = None
    not_known_yet: str | None = Field(default=None, description="Why no request can be made yet.")
    read: str | None = Field(
        default=None, description="What came of asking, or why it was not: `dry_run_reads` alone."
    )
    way: str | None = Field(
        default=None, description="`simulate`: `undo`, `verify`; not said of the step itself."
    )
    answer: str | None = Field(
        default=None, description="`simulate`: the status that was made up or recorded."
    )
    after_seconds: float | None = Field(default=None, description="`simulate`: of virtual time.")
    undo: str | None = Field(default=None, description="What would undo it.")
    stays: str | None = Field(default=None, description="Why nothing undoes it.")


class DryRunShape(Shape):
    """What a run would do, as far as its inputs decide."""

    workflow: str
    version: int
    status: Literal["planned", "simulated"] = "planned"
    meaning: str = Field(description="What was done (nothing), and whether it would be refused.")
    steps: list[PlannedLink] = Field(description="In the straight order: jumps depend on answers.")
    ends: str | None = Field(default=None, description="`simulate`: the run's status in the end.")
    because: str | None = Field(default=None, description="Why it turned back.")
    seconds: float | None = Field(default=None, description="How long it took, of virtual time.")
    outputs: Any = Field(default=None, description="Of one that succeeded.")
    undone: list[str] = Field(default_factory=list, description="Steps, the first undone first.")
    stands: list[str] = Field(
        default_factory=list,
        description="Steps whose effects are there although it did not succeed.",
    )
    escalated: str | None = Field(default=None, description="Why a person would have to decide.")
    supposed: list[str] = Field(
        default_factory=list, description="What people and programs are supposed to have answered."
    )
    left_out: int | None = Field(default=None, description="Calls that are not shown.")
    spends: str | None = Field(default=None, examples=["5 EUR"])
    refused: list[str] = Field(
        default_factory=list, description="What the asker's policy would refuse now."
    )
    approval: list[str] = Field(
        default_factory=list, description="Why a person would be asked before it begins."
    )

    def as_plan(self) -> dict[str, Any]:
        """As `DryRun.plan` has it."""
        said = self.model_dump(mode="json", exclude_unset=True)
        head = ("workflow", "version", "status", "meaning")
        return {name: value for name, value in said.items() if name not in head}

    @staticmethod
    def of(found: DryRun) -> DryRunShape:
        """What is not said is left out of the answer."""
        return DryRunShape.model_validate(
            {
                "workflow": found.workflow, "version": found.version, "status": found.status,
                "meaning": found.meaning, **found.plan,
            }
        )  # fmt: skip
