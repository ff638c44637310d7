"""What is kept about runs, escalations and workers, as plain values.

They are Structs because a frozen dataclass costs several times as much to make, and every step
makes a handful of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from orchestrator.core.blocks import LIFTED
from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import Facts, FrozenRequest, Outcome
from orchestrator.core.joining import JoinedPlan, joined, joined_id
from orchestrator.core.path import Path, straight
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import longer, outline_of
from orchestrator.core.saga import EscalationReason, Link, Saga, StepState
from orchestrator.core.severity import Severity
from orchestrator.core.states import HAPPENED, Direction, RunStatus
from orchestrator.errors import RefusedError


class WorkflowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published, immutable workflow version. Runs pin `id`."""

    id: str
    workflow: str
    version: int  # 1-based, by workflow
    plan: Plan
    document: str  # what was published, as text, for people
    published_at: datetime
    published_by: str
    operations: str = ""  # what the APIs said about those that it calls, for who looks for it
    plan_digest: str = ""  # SHA-256 of the plan's text as it is stored
    key_id: str | None = None  # whose signature; None: it is not signed
    signature: bytes | None = None
    # Why the stored plan cannot be read; then `plan` has the names of its steps at most.
    unread: RefusedError | None = None
    # Of a definition by which a moved run goes on: the versions it is joined of, newest first.
    parts: tuple[WorkflowVersion, ...] = ()

    def text(self) -> bytes:
        """What its signature is made over: one JSON array, of what decides what is done.

        `id` is in it since runs pin it: two rows cannot change places. The time is not.
        """
        texts = [sha256(each.encode()).hexdigest() for each in (self.document, self.operations)]
        said = [_MARK, self.id, self.workflow, self.version, self.published_by, self.plan_digest]
        return json.dumps([*said, *texts], separators=(",", ":")).encode()


def joined_version(parts: Sequence[WorkflowVersion]) -> WorkflowVersion:
    """The definition of a run that was moved by these versions, newest first.

    What people read of it is the newest one's. It has no signature: each of its parts has its own.
    """
    *newer, oldest = parts
    plan, ids = oldest.plan, oldest.id
    for each in reversed(newer):
        plan, ids = joined(each.plan, each.version, plan, oldest.version), joined_id(each.id, ids)
    unread = next((each.unread for each in parts if each.unread is not None), None)
    return msgspec.structs.replace(
        parts[0], id=ids, plan=plan, plan_digest="", key_id=None, signature=None, unread=unread,
        parts=tuple(parts),
    )  # fmt: skip


_MARK = "orchestrator workflow version 1"
"""Begins what is signed, so that a signature under something else is none under a version."""


class PlaceInMap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of a run that is an item of a map."""

    map_id: str
    index: int  # of the item, from 0
    step: str  # that is the map, of the run `parent_id`
    parent_id: str
    depth: int  # how many runs are above it
    whole_id: str  # the run of which it is a part, see RunRecord
    place: int | None = None  # of one that is undone: see MapItem


# These two are made by the ten thousand at once; as they only hold plain values, the garbage
# collector need not go through them.
class NewRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run to be accepted. `inputs_digest` tells a repeated submit from a conflicting one."""

    id: str
    workflow_id: str  # WorkflowVersion.id
    workflow: str
    version: int
    inputs: Mapping[str, Any]
    inputs_digest: str
    idempotency_key: str
    tenant: str = "default"
    actor: str = "unknown"
    lane: str = "default"
    priority: int = 0
    deadline_seconds: float | None = None  # counted by the database from its own now
    attributes: tuple[tuple[str, str], ...] = ()  # (name, value) in order of names
    traceparent: str | None = None  # of whoever submitted it (W3C Trace Context)
    tracestate: str | None = None  # the same
    looked: Sequence[Mapping[str, Any]] = ()  # by an agent, before: for the audit
    in_map: PlaceInMap | None = None  # None: it is no item of a map
    alias: str = ""  # that led to this version: for the audit; empty: none did


class Accepted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one NewRun: its own id, or the id of the run that had the key before."""

    run_id: str
    repeated: bool
    # An earlier run that was the same wish under another key, where an agent's policy asks.
    like: str | None = None
    is_held: bool = False  # a person has to approve it before it begins


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One link with its payloads and times."""

    link: Link = msgspec.field(default_factory=Link)
    request: FrozenRequest | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None  # the last thing that went wrong, also when it went well later
    started_at: datetime | None = None
    finished_at: datetime | None = None


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A visit of a step of a run."""

    index: int  # position in the run's chain
    step_id: str
    label: str
    iteration: int = 0  # how many visits of the same step come before
    version: int | None = None  # of the workflow; None: the run's own, which was never moved
    forward: LinkRecord = msgspec.field(default_factory=LinkRecord)
    undo: LinkRecord = msgspec.field(default_factory=LinkRecord)


def untouched_steps(plan: Plan, path: Path) -> tuple[StepRecord, ...]:
    """All steps of a chain, as nothing has happened to them."""
    versions = plan.versions if isinstance(plan, JoinedPlan) else None
    seen: dict[str, int] = {}
    found = []
    for index, at in enumerate(path.steps):
        step = plan.steps[at]
        seen[step.id] = seen.get(step.id, -1) + 1
        found.append(
            StepRecord(
                index=index, step_id=step.id, label=step.call.label, iteration=seen[step.id],
                version=None if versions is None else versions[at],
            )
        )  # fmt: skip
    return tuple(found)


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run's row."""

    id: str
    workflow_id: str
    workflow: str
    version: int
    tenant: str
    actor: str
    lane: str
    priority: int
    idempotency_key: str
    inputs: Mapping[str, Any]
    status: RunStatus
    direction: Direction
    epoch: int
    owner: str | None  # worker id, None when nobody has it
    claims: int  # claims since the last progress
    hop_id: str | None  # of the link at which it stands, see `hop_id_of`
    wake_at: datetime | None
    deadline_at: datetime | None
    published_at: datetime | None  # when its latest hint was sent
    cancel: CancelMode | None
    cause: str
    outputs: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None  # first claim
    settled_at: datetime | None  # final or escalated
    audit_seq: int  # number of its latest audit record
    edits: Mapping[str, Mapping[str, Any]] = {}  # step -> name -> value, instead of the plan's
    path: Path | None = None  # its way through the plan once it has left the straight one
    rerun_of: str | None = None  # the run whose first steps it took over
    traceparent: str | None = None  # with which it was submitted
    tracestate: str | None = None  # the same
    parent_id: str | None = None  # the run of which a step began it
    wait_id: str | None = None  # the wait that its end answers, until it has
    depth: int = 0  # how many parents are above it
    # Of a parallel block: BLOCK/BRANCH, or BLOCK alone where it undoes what the branches did.
    branch: str | None = None
    whole_id: str | None = None  # then the run of which it is a part, above all such blocks
    map_id: str | None = None  # of an item of a map, or of the run that undoes one; see MapStore
    item: int | None = None  # then its index, from 0


class ClaimedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that this worker owns now, with all that is needed to drive it."""

    run: RunRecord
    steps: tuple[StepRecord, ...]  # in order of the chain; all of them

    def outline(self) -> Plan:
        """What stands for a plan that may not be believed: the names of the steps of the chain."""
        known = list({step.step_id: step for step in self.steps})
        most = 1 + max(self.run.path.steps if self.run.path else (), default=-1)
        return longer(outline_of(self.run.workflow, known), most)

    def saga(self, plan: Plan) -> Saga:
        """The run as the core sees it."""
        run = self.run
        return Saga(
            plan=plan,
            path=run.path or straight(plan),
            steps=tuple(
                StepState(forward=step.forward.link, undo=step.undo.link) for step in self.steps
            ),
            status=run.status,
            direction=run.direction,
            deadline_at=run.deadline_at,
            wake_at=run.wake_at,
            cancel=run.cancel,
            cause=run.cause,
        )


def facts_of(run: RunRecord, steps: Iterable[StepRecord]) -> Facts:
    """What expressions may refer to: of these visits, what the latest of each step gave."""
    happened = (step for step in steps if step.forward.link.status in HAPPENED)
    return Facts(run_id=run.id, inputs=run.inputs, outputs=outputs_of(happened))


def outputs_of(steps: Iterable[StepRecord]) -> dict[str, Mapping[str, Any]]:
    """What these visits gave, by step; a later visit of the same step instead of an earlier one."""
    found: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        gave, request = step.forward.outputs, step.forward.request
        if gave is not None:
            found[step.step_id] = gave
            if request is not None and request.method in LIFTED:
                found.update(gave)
    return found


class LinkWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A changed link. None leaves a payload or time as it is."""

    step: int
    direction: Direction
    link: Link
    request: FrozenRequest | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    started_at: datetime | None = None  # set with the first begin only
    finished_at: datetime | None = None


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished attempt (or verification) at a link."""

    id: str
    step: int
    direction: Direction
    number: int  # 1-based by link
    kind: str  # "call" or "verify"
    outcome: Outcome
    reason: str
    status_code: int | None
    started_at: datetime
    finished_at: datetime
    worker: str


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a run. Append-only; `seq` counts by run from 1."""

    seq: int
    at: datetime
    kind: str  # past tense: "run.accepted", "step.landed", "undo.failed", "operator.resolved" …
    actor: str  # "engine", a worker id, or who acted
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)


class NewEscalation(msgspec.Struct, frozen=True, kw_only=True):
    """An escalation to open together with the write that stops the run."""

    id: str
    reason: EscalationReason
    detail: str
    step: int | None
    direction: Direction
    context: Mapping[str, Any]  # what is known done, undone, unknown; the stuck request; choices
    api: str | None = None  # of the link that is stuck
    severity: Severity | None = None  # as the workflow says; None: the deployment's
    due_seconds: float | None = None  # from opening, likewise


class EscalationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the dead-letter table. Open and unclaimed ones are on the broker's queue."""

    id: str
    run_id: str
    workflow: str
    tenant: str
    reason: EscalationReason
    detail: str
    step: int | None
    step_id: str | None
    direction: Direction
    context: Mapping[str, Any]
    opened_at: datetime
    claimed_by: str | None
    claimed_at: datetime | None
    closed_at: datetime | None  # None while open
    resolution: str | None  # "retried", "resolved", "skipped", "abandoned"
    closed_by: str | None
    closing_reason: str | None
    api: str | None = None  # of the link that is stuck; None for those of older releases
    severity: Severity | None = None  # as its workflow says; None: by its reason
    due_seconds: float | None = None  # from opening, likewise; None: by its severity
    claimed_until: datetime | None = None  # then the claim ends by itself; None: it does not


class RunWrite(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run has to record since its last write, guarded by (owner, epoch)."""

    run_id: str
    owner: str
    epoch: int
    saga: Saga  # status, direction, wake_at, cancel, cause, deadline_at, path: written from it
    links: tuple[LinkWrite, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    audit: tuple[AuditRecord, ...] = ()
    # Of its owner's writes since the claim, from 1. An older one that comes late is refused; the
    # same number again is the same write again.
    number: int = 1
    escalation: NewEscalation | None = None
    outputs: Mapping[str, Any] | None = None  # of a succeeded run
    progressed: bool = False  # a link got an outcome: `claims` starts again at 0
    release: bool = False  # owner becomes NULL
    hinted: bool = False  # with release: a hint is published next
    withdraws: bool = False  # what it waited for is not waited for any more
    stops_parts: bool = False  # with its end by a person: what it waits for ends where it is, too
    refuses_cancel: bool = False  # the wish to cancel that the last write answered with is dropped
    traced: bool = False  # it waits or settles with this write, and its trace is to be told of


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What others want of a run that we own; answered with every write."""

    cancel: CancelMode | None = None
    cancel_reason: str = ""


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process as the table knows it."""

    id: str
    name: str  # Celery's node name
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    active_runs: int
    reserved: int  # hints prefetched and not yet taken up
    version: str


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one queue as the table sees them."""

    lane: str
    direction: Direction
    due: int  # unowned and due now
    owned: int  # in a worker's hands
    parked: int  # waiting or parked until a time
    oldest_due_seconds: float | None


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which runs; None means any. Newest first; `before` is the cursor (a run id).

    Times are those of acceptance, to the millisecond: from `since` on, before `until`.
    """

    status: frozenset[RunStatus] | None = None
    ids: tuple[str, ...] | None = None
    workflow: str | None = None
    tenant: str | None = None
    actor: str | None = None  # who submitted it
    under: str | None = None  # accepted under the policy of this name (EVERYBODY: a tenant's)
    rerun_of: str | None = None  # the whole id of a run: those that took over what it did
    parent: str | None = None  # the whole id of a run: those that its steps began
    attributes: Mapping[str, str] | None = None  # each of these names has this value
    text: str | None = None  # what somebody knows of a run: see the guide on finding runs
    since: datetime | None = None
    until: datetime | None = None
    older_than_seconds: float | None = None  # since acceptance, by the database's clock
    younger_than_seconds: float | None = None
    before: str | None = None
    limit: int | None = 50  # None: all


class Progress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a run has come: something has happened to it when `audit_seq` has grown."""

    status: RunStatus
    audit_seq: int


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of the last seconds."""

    accepted: int
    settled: int  # ended, or escalated


class DatabaseRoom(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to a database server."""

    allowed: int  # to everybody together, without those kept for superusers
    in_use: int  # now, by everybody
    per_worker: int  # that one worker process opens at most


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How one gets to sessions with PostgreSQL, and how they are set."""

    shared: bool  # `database_url` leads to a pooler that lends them for one transaction
    said: bool  # `database_session_url` is set, which says so
    session_shared: bool  # and leads to such a pooler itself
    unlike: dict[str, str]  # settings of a session that are not as wanted, as they are
    connect_query: str  # what a pooler has to say in each new one


class NewRerun(msgspec.Struct, frozen=True, kw_only=True):
    """A new run that takes over what an old one did before a step."""

    run: NewRun
    of: str  # id of the old run
    step: str  # with which it begins
    by: str
    reason: str
    saga: Saga  # as it begins: running, with the links below
    links: tuple[LinkWrite, ...]
