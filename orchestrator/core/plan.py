"""The immutable plan of a workflow version, whichever front end it came from.

A plan is data: what must be called, in which order, what undoes it, how often to try. The parts
that only a front end understands (URL templates, expressions, criteria) travel in `Call.template`,
which the core never reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.core.retry import DEFAULT_RETRY, RetryPolicy

LOCAL = "(local)"
"""Stands for an API in the call of a step that calls none."""
WAITING = "(waiting)"
"""Stands for an API in the call of a step that waits for somebody's answer."""
CHILD = "(child)"
"""Stands for an API in the call of a step that begins runs of its own, or undoes what they did."""
MAX_VISITS = 1000
"""Where a document says nothing: more visits of steps than this, and a loop has no end."""
PLAN_FORMAT = 1
"""Version of the JSON form; readers refuse what they do not know."""


class Effects(StrEnum):
    """What repeating a call does at the API."""

    NONE = "none"  # safe to repeat: it changes nothing
    KEYED = "keyed"  # the API honours an idempotency key: repeated, it happens once
    UNKEYED = "unkeyed"  # repeating may do it twice: never repeated while in doubt


class CompensationKind(StrEnum):
    """How a compensation makes good."""

    REVERSE = "reverse"  # restores what was there
    FOLLOW_UP = "follow-up"  # cannot restore; makes amends with a new fact


class OnCancel(StrEnum):
    """What becomes of a child run when the run that waits for it is cancelled."""

    CANCEL = "cancel"  # it is cancelled as well, and its end is waited for
    WAIT = "wait"  # its end is waited for
    LEAVE = "leave"  # it goes on by itself, and is nobody's to undo


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One operation: what to invoke and how often to try."""

    label: str  # shown in Flower, logs and audit: "checkout.charge"
    api: str  # name of the API whose gate it passes; "tasks" for Python functions
    effects: Effects
    template: Mapping[str, Any]  # compiled request, criteria and outputs; read by definitions/ only
    retry: RetryPolicy = DEFAULT_RETRY
    timeout_seconds: float | None = None  # None: the API's configured total timeout
    # Forward: the first request leaves within so long after the step before, or it has failed.
    start_within_seconds: float | None = None
    verify: Call | None = None  # asks whether an unkeyed effect exists; itself effects `none`
    task_name: str | None = None  # registered name of the Python function, None for HTTP
    on_cancel: OnCancel | None = None  # of a child run that is waited for, else None

    @property
    def is_local(self) -> bool:
        """Whether it calls nothing: it is worked out here and done at once."""
        return self.api == LOCAL

    @property
    def is_wait(self) -> bool:
        """Whether it asks somebody and waits for the answer, with its run asleep in the table."""
        return self.api == WAITING

    @property
    def is_child(self) -> bool:
        """Whether it begins a run of its own, or the one that undoes such a run."""
        return self.api == CHILD

    @property
    def is_answered(self) -> bool:
        """Whether a row answers it, for which its run sleeps in the table."""
        return self.api in (WAITING, CHILD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compensation:
    """What undoes a step that landed.

    With `otherwise` it depends on how the step went: the first call whose condition holds undoes
    it, `call` before the others. All are of one API and equal in what the core decides by (effects,
    attempts, time, whether a doubt can be settled), so that it need not know which it was.
    """

    call: Call
    kind: CompensationKind = CompensationKind.REVERSE
    otherwise: tuple[Call, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """All of them, in the order in which their conditions are asked."""
        return (self.call, *self.otherwise)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One forward action with what undoes it.

    A step with an effect has a compensation, a written reason for none, or lies at or after the
    pivot.
    """

    id: str
    call: Call
    compensation: Compensation | None = None
    no_compensation_reason: str | None = None
    pivot: bool = False  # once it landed, the run only goes forward
    last: bool = False  # no step follows by itself; steps after it are reached by a jump alone
    scope: str = ""  # of whose names it speaks: "" the workflow's, "pay/" those of a workflow in it
    undoes: tuple[str, ...] = ()  # ids of steps that it undoes by hand: they are not undone again
    heads: str = ""  # the block of which a branch begins here, its steps following; see core/blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One workflow version, validated. `digest` is the SHA-256 of its canonical JSON form."""

    workflow: str
    steps: tuple[PlanStep, ...]
    digest: str = ""
    title: str = ""
    inputs_schema: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)  # name -> expression, for definitions/
    deadline_seconds: float | None = None  # from submit; forward work stops there
    lane: str = "default"
    # Steps have actions that lead elsewhere. A release that knows no such field cannot read the
    # plan, and so does not run it straight on.
    jumps: bool = False
    waits: bool = False  # a step waits for an answer; left out of all others, as `jumps` is
    children: bool = False  # a step begins a run of its own; likewise
    blocks: bool = False  # a step begins several, branches of this plan; likewise
    maps: bool = False  # a step begins one for each of many items; likewise
    # Of which runs a decision needs a second person; read by definitions/ only. Left out of all
    # others, so that a release that would let one person decide cannot read the plan.
    four_eyes: Mapping[str, Any] = field(default_factory=dict)
    # Name -> expression over the inputs: by what its runs are looked up; read by definitions/ only.
    attributes: Mapping[str, Any] = field(default_factory=dict)
    escalation: Mapping[str, Any] = field(default_factory=dict)  # how bad one is; definitions/ only
    # What a run spends, and by what it is the same wish as another, over the inputs: for agents'
    # policies. A release that would count nothing cannot read a plan that has one.
    budget: Mapping[str, Any] = field(default_factory=dict)
    intent: Mapping[str, Any] = field(default_factory=dict)
    slo: Mapping[str, Any] = field(default_factory=dict)  # what it promises; see core/slo
    max_visits: int = MAX_VISITS  # of all steps together; a run that wants more turns back

    @property
    def pivot_index(self) -> int | None:
        """Index of the pivot step, None when the run can always go back."""
        return next((index for index, step in enumerate(self.steps) if step.pivot), None)
