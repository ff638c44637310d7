"""What the REST face answers with: documented, typed, and apart from how things are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import Outcome
from orchestrator.core.health import BreakerState
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.plan import Effects
from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import Severity
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES
from orchestrator.errors import Problem
from orchestrator.ports import Role
from orchestrator.ports.apis import ApiChangeKind

T = TypeVar("T")
_RUN = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"


class Shape(BaseModel):
    """Base: read off records, never changed."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Shape, Generic[T]):
    """Some of many things. `next` is the cursor of the page that follows; null: there is none."""

    items: list[T]
    next: str | None = None


class Me(Shape):
    """Whom the request's key stands for."""

    name: str
    role: Role
    tenant: str | None = Field(description="The only tenant it reaches; null: all.")


# --- workflows ------------------------------------------------------------------------------------


class WorkflowSummary(Shape):
    """The latest version of a workflow, or one of its versions."""

    name: str
    version: int
    title: str
    lane: str
    steps: int
    digest: str
    published_at: datetime
    published_by: str
    key_id: str | None = Field(
        default=None, description="The key whose signature it bears, good or not; null: none."
    )


class VersionChange(Shape):
    """One thing that tells a version from another."""

    where: str = Field(description="`the workflow`, `inputs`, `step reserve`, `undo of reserve`.")
    what: str
    weighs: bool = Field(
        description="It changes a promise: what is undone or may be repeated, from where on a run "
        "no longer turns back, what has to be given, what comes back."
    )


class VersionChanges(Shape):
    """Two versions and all that differs, the steps in their order."""

    before: str
    after: str
    changes: list[VersionChange]


class Undo(Shape):
    """What undoes a step."""

    label: str
    kind: str = Field(description="`reverse` restores; `follow-up` makes amends.")


class PlannedStep(Shape):
    """A step as the workflow has it."""

    id: str
    label: str
    api: str
    effects: Effects
    pivot: bool
    undo: Undo | None
    no_undo_reason: str | None


class WorkflowDetail(WorkflowSummary):
    """One version with its steps and what it takes and gives."""

    inputs: dict[str, Any] = Field(description="JSON Schema.")
    outputs: list[str]
    deadline_seconds: float | None
    plan: list[PlannedStep]


# --- runs -----------------------------------------------------------------------------------------


class Submit(BaseModel):
    """A run that is wanted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"workflow": "checkout", "inputs": {"order": "o-1", "amount": 120}}]
        },
    )

    workflow: str = Field(
        min_length=1, max_length=200,
        description="Its name, or one version of it: `checkout@3`, `checkout@stable`.",
    )  # fmt: skip
    inputs: dict[str, Any] = Field(default_factory=dict)
    version: int | None = Field(
        default=None, ge=1, le=2**31 - 1,
        description="null: the one that the alias `stable` names, else the latest; for some of the "
        "runs that of `canary`, where it has a share",
    )  # fmt: skip
    tenant: str | None = Field(default=None, min_length=1, max_length=200)
    actor: str | None = Field(default=None, max_length=200, description="On whose behalf.")
    priority: int = Field(default=0, ge=-1000, le=1000)
    deadline_seconds: float | None = Field(default=None, gt=0, le=315_360_000)
    attributes: dict[str, str] = Field(
        default_factory=dict, max_length=MOST_ATTRIBUTES,
        description="By which the run is looked up, beside those that its workflow declares.",
    )  # fmt: skip


class SubmitLine(Submit):
    """A line of a bulk submission: the key stands in it."""

    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200)


_BRANCH = (
    "Of a parallel block: BLOCK/BRANCH, or BLOCK where it undoes what the branches did; else null."
)


class RunSummary(Shape):
    """A run without its payloads."""

    id: str = Field(examples=[_RUN])
    workflow: str
    version: int
    tenant: str
    actor: str
    lane: str
    priority: int
    status: RunStatus
    direction: Direction
    cause: str = Field(description="Why it turned back or stopped.")
    idempotency_key: str
    cancel: CancelMode | None
    owner: str | None = Field(description="The worker that drives it now.")
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    wake_at: datetime | None
    deadline_at: datetime | None
    audit_seq: int = Field(description="Number of its latest audit record.")
    rerun_of: str | None = Field(
        default=None, description="The run whose first steps it took over."
    )
    parent_id: str | None = Field(default=None, description="The run of which a step began it.")
    branch: str | None = Field(default=None, description=_BRANCH)
    item: int | None = Field(
        default=None, description="Of an item of a map of `parent_id`: its index, from 0."
    )
    attributes: dict[str, str] = Field(default_factory=dict)


class ChildShape(Shape):
    """A run that a step of another one began."""

    id: str = Field(examples=[_RUN])
    workflow: str
    version: int
    status: RunStatus
    cause: str
    rerun_of: str | None = Field(description="The child that it undoes; null: it is one itself.")
    branch: str | None = Field(description=_BRANCH)


class MapShape(Shape):
    """A map over data: a step that begins a run for each of many items."""

    id: str = Field(examples=[_RUN])
    step: str
    workflow: str
    version: int
    undoes: str | None = Field(description="The map whose items it undoes; null: it is one itself.")
    is_open: bool = Field(description="Whether items run, or are to begin.")
    total: int
    begun: int
    running: int
    succeeded: int
    failed: int
    parallel: int = Field(description="Most items that run at once.")
    most_failures: int = Field(description="With more of them no further item begins.")
    stopped: str = Field(description="Why no further item begins; empty: they do, or all have.")


class ItemShape(Shape):
    """An item of a map that has begun."""

    index: int = Field(description="From 0, in the order in which they were given.")
    outcome: ItemOutcome
    run: RunSummary


class RunDetail(RunSummary):
    """A run with what went in and came out."""

    inputs: dict[str, Any]
    outputs: dict[str, Any] | None
    edits: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Values that steps send instead, by step and name."
    )
    alias: str | None = Field(
        default=None, description="The alias that led to its version, if one did."
    )
    children: list[ChildShape] = Field(
        default_factory=list, description="Runs that its steps began, the 100 newest, newest first."
    )
    maps: list[MapShape] = Field(
        default_factory=list,
        description="Its maps over data, oldest first; their runs are no `children`.",
    )


def _is_none(value: object) -> bool:
    return value is None


class Submitted(Shape):
    """The answer to a submission. `repeated`: the key was used before, for the same run."""

    run_id: str = Field(examples=[_RUN])
    repeated: bool
    run: RunDetail | None = Field(
        default=None,
        exclude_if=_is_none,
        description="With `wait`: the run once it had settled, or as it was when time was over. "
        "Not there where it could not be read then; it is accepted all the same.",
    )


class AttemptShape(Shape):
    """One try of a link, or a question whether it landed."""

    number: int
    kind: str
    outcome: Outcome
    reason: str
    status_code: int | None
    started_at: datetime
    finished_at: datetime
    worker: str


class LinkShape(Shape):
    """A link of the run's chain: a step's forward action, or its undo."""

    step: str
    iteration: int = Field(description="How many visits of the same step come before: loops.")
    version: int | None = Field(
        default=None, description="Of the workflow, of a run that was moved; null: the run's own."
    )
    label: str
    direction: Direction
    kind: str
    pivot: bool
    status: LinkStatus
    in_doubt: bool
    sequence: int | None = Field(description="Place in the order of completion.")
    started_at: datetime | None
    finished_at: datetime | None
    outputs: dict[str, Any] | None
    error: str | None
    attempts: list[AttemptShape]


class Chain(Shape):
    """All links: forward in the order of the workflow, the undos in their own."""

    forward: list[LinkShape]
    backward: list[LinkShape]


class AuditShape(Shape):
    """One thing that happened."""

    seq: int
    at: datetime
    kind: str = Field(examples=["step.landed"])
    actor: str
    data: dict[str, Any]


class Cancel(BaseModel):
    """A wish that a run ends."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000, description="Why; kept in the audit.")
    mode: CancelMode = Field(
        default=CancelMode.UNDO,
        description="`stop` leaves what is done as it is; it takes an admin's key.",
    )


class RerunWish(BaseModel):
    """A new run from a step of an ended one on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"step": "ship", "reason": "it is fixed"}]}
    )

    step: str = Field(min_length=1, max_length=200, description="To begin with.")
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    version: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="null: the one that the run followed"
    )
    repeat_effects: bool = Field(
        default=False, description="What stands from there on may come a second time."
    )


class Counts(Shape):
    """Runs by status; of those that have ended, the ones accepted since `since`."""

    since: datetime | None
    runs: dict[RunStatus, int]


# --- escalations ----------------------------------------------------------------------------------


class EscalationShape(Shape):
    """A run that needs a person."""

    id: str
    run_id: str
    workflow: str
    tenant: str
    reason: EscalationReason
    detail: str
    api: str | None = Field(description="Of the stuck link; null: none is, or it is not known.")
    step_id: str | None
    direction: Direction
    context: dict[str, Any] = Field(description="What is known to be done, undone and unknown.")
    severity: Severity
    opened_at: datetime
    due_at: datetime = Field(description="When somebody should have decided.")
    claimed_by: str | None
    claimed_at: datetime | None
    claimed_until: datetime | None = Field(description="Then the claim ends by itself.")
    closed_at: datetime | None
    resolution: str | None
    closed_by: str | None
    closing_reason: str | None


class NextCall(Shape):
    """A call that would follow."""

    step: str
    label: str
    direction: Direction
    asks: bool = Field(description="Whether it landed, before anything else.")


class ChoiceShape(Shape):
    """One way out, and where it leads if each call goes well."""

    name: str = Field(examples=["retry"])
    refused: str | None = Field(description="Why it cannot be chosen; null: it can.")
    links: list[NextCall]
    status: RunStatus | None
    standing: list[str] = Field(description="Steps whose effects exist in the end.")


class CommentShape(Shape):
    """A remark on an escalation."""

    at: datetime
    by: str
    text: str


class Assign(BaseModel):
    """Whom to give it to."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(min_length=1, max_length=200, pattern=r"\S")


class Remark(BaseModel):
    """A remark."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class BriefingShape(Shape):
    """What one wants to know before deciding."""

    severity: Severity
    due_at: datetime
    comments: list[CommentShape]
    look: str | None = Field(description="A command to look at the API; credentials to be added.")
    choices: list[ChoiceShape]
    similar: int = Field(description="Other open ones of the same step and reason.")
    similar_ids: list[str]


class Decide(BaseModel):
    """A decision on an escalation."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(
        min_length=1, max_length=2000, pattern=r"\S",
        description="Why, and the evidence; kept in the audit.",
    )  # fmt: skip


class Retry(Decide):
    """The stuck call shall be tried again."""

    corrections: dict[str, Any] | None = Field(
        default=None, min_length=1, max_length=100, examples=[{"/amount": 90}],
        description="Other values in its body, by JSON pointer. Then it is another request, with "
        "another key: only where the first certainly had no effect.",
    )  # fmt: skip


class Resolve(Decide):
    """You vouch for the stuck call."""

    landed: bool = Field(default=True, description="false: it certainly did nothing.")
    outputs: dict[str, Any] | None = Field(
        default=None, description="What a forward step gave, by the names that it declares."
    )


class Decided(Shape):
    """What became of the run."""

    escalation_id: str
    run_id: str
    run_status: RunStatus
    proposal_id: str | None = Field(
        default=None,
        description="Nothing was done yet: a second person has to confirm this (status 202).",
    )


# --- APIs, workers, queues ------------------------------------------------------------------------


class ApiChangeShape(Shape):
    """A change that somebody made while workers ran."""

    version: int
    kind: ApiChangeKind
    at: datetime
    by: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class ApiFieldShape(Shape):
    """What holds of one field, and where it comes from."""

    name: str
    value: Any
    origin: str
    change: ApiChangeShape | None


class ApiShape(Shape):
    """How an API may be used now."""

    api: str
    version: int = Field(description="Number of its latest change; 0: there was none.")
    held: ApiChangeShape | None
    fields: list[ApiFieldShape]
    changes: list[ApiChangeShape]

    def value(self, name: str) -> Any:
        """What holds of a field; None when it is set nowhere."""
        return next((each.value for each in self.fields if each.name == name), None)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those of its files are told beside them alone."""
        return ()


class ApiStateShape(Shape):
    """How an API stands at the gate, as all workers see it together."""

    api: str
    breaker: BreakerState
    tried_in_seconds: float = Field(
        description="Of an open breaker: until a few calls are let out to see how it is."
    )
    paused_seconds: float = Field(description="It asked not to be called for so long.")
    pace: float = Field(
        description="Part of its rate that is used; below 1 after it refused calls as too many."
    )
    calls: int = Field(description="That ended in the last ten seconds.")
    failures: int = Field(description="Of these.")
    slow: int = Field(description="Of these.")
    slots_limit: int | None = Field(
        description="As the workers apply it; null: none of them needs a slot now."
    )
    slots_lent: int = Field(description="To workers, in use or at hand.")
    slots_wanted: int
    waiting: int = Field(description="Calls that want a start time.")


class ChangeApi(BaseModel):
    """Fields to override, and overrides to take back."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"set": {"rate": "50/second"}, "reason": "slow today"}]},
    )

    reason: str = Field(min_length=1, max_length=2000)
    set: dict[str, Any] = Field(default_factory=dict, description="As in a file of config/apis.")
    reset: list[str] = Field(default_factory=list)


class WorkerShape(Shape):
    """A worker process."""

    id: str
    name: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    active_runs: int
    reserved: int = Field(description="Messages that it has taken and not looked at yet.")
    version: str


class QueueShape(Shape):
    """One queue as broker and table see it."""

    name: str
    messages: int = Field(description="On the broker.")
    due: int = Field(description="Runs in the table that a message should stand for.")
    owned: int = Field(description="Runs in a worker's hands.")
    parked: int = Field(description="Runs that wait for a time.")
    oldest_due_seconds: float | None


class Health(Shape):
    """Whether this process can do its work."""

    status: str = Field(examples=["ok"])
