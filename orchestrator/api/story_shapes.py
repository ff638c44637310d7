"""A run's story as the REST face tells it, and every command with `--json`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from orchestrator.api.asking import TEXT
from orchestrator.api.shapes import Decide, Shape
from orchestrator.core.doubles import Cause
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES


class SentenceShape(Shape):
    """One thing that happened."""

    at: datetime
    seq: int = Field(description="Of the audit's record that proves it.")
    who: str
    text: str
    evidence: dict[str, str]


class CallShape(Shape):
    """One attempt at a step, an undo, or the question whether it is done."""

    seq: int
    at: datetime
    step: str
    direction: Direction
    attempt: int
    verify: bool
    method: str = Field(description="TASK for a Python function.")
    url: str
    key: str = Field(description="Of idempotency.")
    sent: int | None = Field(
        description="Requests that may have left; null: 0 or 1, since its worker died."
    )
    status: int | None
    outcome: str = Field(description="What became of the step; empty while nobody knows.")
    reason: str
    in_doubt: bool = Field(description="What came of it did not tell whether it had its effect.")
    seconds: float | None
    waited: float = Field(description="Seconds before the API's gate.")
    credential: str = Field(description="The name of its entry in the configuration.")
    asked: str = Field(description="SHA-256 of the request's body, in hex.")
    answered: str = Field(description="SHA-256 of the answer's body, in hex.")


class StoryShape(Shape):
    """What happened to a run, told from its audit."""

    run: str
    workflow: str
    version: int
    tenant: str
    actor: str
    status: RunStatus
    outcome: str
    story: list[SentenceShape]
    calls: list[CallShape]


class EffectShape(Shape):
    """One of several effects."""

    run_id: str
    actor: str
    run_key: str = Field(description="Under which the run was submitted.")
    submitted_at: datetime
    call: CallShape
    undone: bool


class DoubleShape(Shape):
    """What was done, or sent, more than once."""

    cause: Cause
    text: str
    effects: list[EffectShape]


class TogetherShape(Shape):
    """The stories of several runs, newest first, and what was done in them more than once."""

    stories: list[StoryShape]
    doubles: list[DoubleShape]
    more: bool = Field(description="There are older runs, which were not looked at.")


class Erase(Decide):
    """Whose payloads shall go."""

    attributes: dict[str, str] = Field(
        min_length=1, max_length=MOST_ATTRIBUTES, examples=[{"customer": "42"}],
        description="Runs that have all of these.",
    )  # fmt: skip
    tenant: str | None = Field(
        default=None, max_length=200, pattern=TEXT, description="Of this tenant alone."
    )


class ErasedShape(Shape):
    """What was erased, and what was not."""

    runs: list[str] = Field(description="Of those asked for.")
    parts: int = Field(description="Runs below them: children, branches, items of maps.")
    records: int = Field(description="Of the audits of all of these, that have lost their details.")
    under_way: list[str] = Field(
        description="Runs that have not ended, and so still need their payloads; 200 at most."
    )
    more: bool = Field(description="There are others that have ended: ask again.")
