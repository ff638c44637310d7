"""What the inside needs from the outside: records, and one small protocol for each capability.

Every port has a conformance suite in `tests/`; an implementation, real or fake, passes it whole.
No exception of a database, a broker or an HTTP library crosses a port: they become
`Unavailable`, `StaleOwner`, `Conflict`, `NotFound`, `NotLanded` or `InDoubt`.
All times are aware and in UTC. All ids are UUIDv7 as text, but for those of hops, which are worked
out from the run's (`hop_id_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol
from uuid import NAMESPACE_OID, uuid5

from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.plan import Plan
from orchestrator.core.saga import EscalationReason, Link, Saga, StepState, current, previous
from orchestrator.core.states import Direction, RunStatus

# --- records --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkflowVersion:
    """A published, immutable workflow version. Runs pin `id`."""

    id: str
    workflow: str
    version: int  # 1-based, by workflow
    plan: Plan
    document: str  # what was published, as text, for people
    published_at: datetime
    published_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The answer to one NewRun: its own id, or the id of the run that had the key before."""

    run_id: str
    repeated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkRecord:
    """One link with its payloads and times."""

    link: Link = field(default_factory=Link)
    request: FrozenRequest | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None  # the last thing that went wrong, also when it went well later
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """A step of a run."""

    index: int
    step_id: str
    label: str
    forward: LinkRecord = field(default_factory=LinkRecord)
    undo: LinkRecord = field(default_factory=LinkRecord)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedRun:
    """A run that this worker owns now, with all that is needed to drive it."""

    run: RunRecord
    steps: tuple[StepRecord, ...]  # in order of the plan; all of them

    def saga(self, plan: Plan) -> Saga:
        """The run as the core sees it."""
        run = self.run
        return Saga(
            plan=plan,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkWrite:
    """A changed link. None leaves a payload or time as it is."""

    step: int
    direction: Direction
    link: Link
    request: FrozenRequest | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    started_at: datetime | None = None  # set with the first begin only
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRecord:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecord:
    """One thing that happened to a run. Append-only; `seq` counts by run from 1."""

    seq: int
    at: datetime
    kind: str  # past tense: "run.accepted", "step.landed", "undo.failed", "operator.resolved" …
    actor: str  # "engine", a worker id, or who acted
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEscalation:
    """An escalation to open together with the write that stops the run."""

    id: str
    reason: EscalationReason
    detail: str
    step: int | None
    direction: Direction
    context: Mapping[str, Any]  # what is known done, undone, unknown; the stuck request; choices


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationRecord:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWrite:
    """Everything one run has to record since its last write, guarded by (owner, epoch)."""

    run_id: str
    owner: str
    epoch: int
    saga: Saga  # status, direction, wake_at, cancel, cause, deadline_at are written from it
    links: tuple[LinkWrite, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    audit: tuple[AuditRecord, ...] = ()
    escalation: NewEscalation | None = None
    outputs: Mapping[str, Any] | None = None  # of a succeeded run
    progressed: bool = False  # a link got an outcome: `claims` starts again at 0
    release: bool = False  # owner becomes NULL
    hinted: bool = False  # with release: a hint is published next
    refuses_cancel: bool = False  # the wish to cancel that the last write answered with is dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """What others want of a run that we own; answered with every write."""

    cancel: CancelMode | None = None
    cancel_reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """A wake-up for one run. Losing, doubling or delaying it is harmless.

    Becomes one Celery message: `task` its name, `hop_id` its id, `run_id` its root_id,
    `parent_hop_id` its parent_id, `label` its shadow. A wake-up that is given again (its time has
    come, the first was lost, its worker died, a person wants a retry) has the same ids again, as
    Celery's own retries have, so that a run's chain has one task for each link.
    """

    run_id: str
    epoch: int
    hop_id: str
    parent_hop_id: str | None
    label: str  # "checkout.charge"
    task: str  # "orchestrator.forward", "orchestrator.compensate" or a Python function's name
    queue: str  # "default.forward"

    @staticmethod
    def at(saga: Saga, *, run_id: str, epoch: int, lane: str) -> Hint:
        """The wake-up for the link at which a run stands."""
        at = current(saga)
        hop_id, parent_hop_id = hop_ids(run_id, saga)
        call = None if at is None or not saga.has_call(*at) else saga.call(*at)
        forward = saga.direction is Direction.FORWARD
        return Hint(
            run_id=run_id,
            epoch=epoch,
            hop_id=hop_id,
            parent_hop_id=parent_hop_id,
            label=saga.plan.workflow if call is None else call.label,
            task=(call and call.task_name) or (FORWARD_TASK if forward else COMPENSATE_TASK),
            queue=queue_name(lane, saga.direction),
        )


@lru_cache(maxsize=16_384)  # asked for at every write and event of a step
def hop_id_of(run_id: str, at: tuple[int, Direction] | None) -> str:
    """The id of a link's message, the same whoever works it out (`at` None: the chain's end).

    The first link's is the run's own: in Celery's terms a root's root_id is its own id.
    """
    if at is None:
        return str(uuid5(NAMESPACE_OID, f"{run_id}/end"))
    step, direction = at
    if step == 0 and direction is Direction.FORWARD:
        return run_id
    return str(uuid5(NAMESPACE_OID, f"{run_id}/{direction}/{step}"))


def hop_ids(run_id: str, saga: Saga) -> tuple[str, str | None]:
    """Ids of the message for the link at which a run stands, and of the one before it."""
    at = current(saga)
    before = previous(saga, at)
    return hop_id_of(run_id, at), None if before is None else hop_id_of(run_id, before)


FORWARD_TASK = "orchestrator.forward"
COMPENSATE_TASK = "orchestrator.compensate"
DEAD_LETTER_QUEUE = "dead_letter"
MAINTENANCE_QUEUE = "maintenance"


def queue_name(lane: str, direction: Direction) -> str:
    """The queue of a lane in one direction."""
    return f"{lane}.{'forward' if direction is Direction.FORWARD else 'compensation'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Redelivery:
    """A run whose hint must be published (again): due, lost, or its worker is dead."""

    run_id: str
    epoch: int
    hop_id: str
    parent_hop_id: str | None
    lane: str
    direction: Direction
    step: int | None  # current step, None when unknown
    workflow_id: str
    why: str  # "due", "lost", "worker dead"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """A worker process as the table knows it."""

    id: str
    name: str  # Celery's node name
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    active_runs: int
    reserved: int  # hints prefetched and not yet taken up
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCounts:
    """Runs of one queue as the table sees them."""

    lane: str
    direction: Direction
    due: int  # unowned and due now
    owned: int  # in a worker's hands
    parked: int  # waiting or parked until a time
    oldest_due_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """Which runs to list; None means any. Newest first; `before` is the cursor (a run id)."""

    status: frozenset[RunStatus] | None = None
    workflow: str | None = None
    tenant: str | None = None
    before: str | None = None
    limit: int = 50


# --- ports: database ------------------------------------------------------------------------------


class WorkflowStore(Protocol):
    """Published workflow versions."""

    async def publish(self, plan: Plan, *, document: str, by: str) -> tuple[WorkflowVersion, bool]:
        """Store the next version; the same digest as the latest one is answered with it, False."""

    async def workflow(self, name: str, version: int | None = None) -> WorkflowVersion:
        """A version, or the latest. Raises NotFound that names what exists."""

    async def workflow_by_id(self, workflow_id: str) -> WorkflowVersion:
        """The version that a run pins. Raises NotFound."""

    async def workflows(self) -> list[WorkflowVersion]:
        """The latest version of each workflow, by name."""

    async def versions(self, name: str) -> list[WorkflowVersion]:
        """All versions of one workflow, newest first."""


class RunStore(Protocol):
    """The saga state table: the truth about every run."""

    async def now(self) -> datetime:
        """The database's clock."""

    async def accept(self, runs: Sequence[NewRun]) -> list[Accepted]:
        """Insert all in one transaction, `pending`, published_at = now, audit `run.accepted`.

        A (tenant, idempotency key) that exists with the same workflow and inputs digest is
        answered with the existing id; with another, Conflict, and nothing of the batch is written.
        """

    async def claim(self, hints: Sequence[tuple[str, int]], *, owner: str) -> list[ClaimedRun]:
        """Take each (run id, epoch) that is unowned, due and still at that epoch.

        Sets owner, adds 1 to epoch and claims, sets started_at the first time. Due: pending,
        running, compensating; or waiting/parked with wake_at <= now. The rest is left out.
        One transaction. Returned records carry the new epoch.
        """

    async def record(self, writes: Sequence[RunWrite]) -> list[Signals | None]:
        """Apply each write whose (owner, epoch) holds, all in one transaction.

        None stands for a refused (stale) one, of which nothing at all is written. settled_at is
        set when the status becomes final or escalated. A hinted write sets published_at = now.
        A release that would let the run wait does not release it while there is a wish to cancel
        that the write neither takes up nor refuses: the wish, in the answer, comes first.
        Row locks are taken in the order of run ids. Repeating a batch whose commit's answer was
        lost is harmless: attempts, audit records and escalations that are there already are left
        alone.
        """

    async def run(self, run_id: str) -> RunRecord:
        """One run. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """All steps of a run in order of the plan."""

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """All attempts, oldest first."""

    async def audit(self, run_id: str) -> list[AuditRecord]:
        """All audit records by seq."""

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """A page of runs, newest first."""

    async def count_by_status(self) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs."""

    async def request_cancel(
        self, run_id: str, *, mode: CancelMode, reason: str, by: str
    ) -> Redelivery | None:
        """Write the wish (audited) and, if nobody owns the run, make it due at once.

        Returns what to publish, or None when its owner will see the signal. Raises Conflict for
        a settled run, NotFound.
        """


class EscalationStore(Protocol):
    """The dead-letter table of record."""

    async def escalation(self, escalation_id: str) -> EscalationRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def escalations(
        self, *, open_only: bool = True, limit: int = 200
    ) -> list[EscalationRecord]:
        """Oldest first."""

    async def escalations_of(self, run_id: str) -> list[EscalationRecord]:
        """All of one run, open and closed, oldest first."""

    async def open_unclaimed(self) -> list[str]:
        """Ids that must be on the broker's dead-letter queue."""

    async def claim_escalation(self, escalation_id: str, *, by: str) -> EscalationRecord:
        """Take one that is open and unclaimed, audited. Raises Conflict naming who has it."""

    async def release_escalation(self, escalation_id: str, *, by: str) -> EscalationRecord:
        """Give it back, audited. Raises Conflict when it is closed or not claimed."""

    async def act(
        self,
        escalation_id: str,
        write: RunWrite,
        *,
        expected_epoch: int,
        resolution: str,
        by: str,
        reason: str,
    ) -> None:
        """Close the escalation and apply the run's write in one transaction.

        Guarded by: the escalation is open, and the run is escalated, unowned and at
        `expected_epoch`; the run's epoch becomes write.epoch. Raises Conflict.
        """

    async def escalated_run(self, escalation_id: str) -> tuple[EscalationRecord, ClaimedRun]:
        """The escalation with its run and steps, to decide on."""


class WorkerStore(Protocol):
    """Worker processes, their heartbeats, and recovery of what dead ones owned."""

    async def register(self, worker: WorkerRecord) -> None:
        """Insert, with the database's time."""

    async def heartbeat(self, worker_id: str, *, active_runs: int, reserved: int) -> bool:
        """Prolong. False: the row is gone (declared dead): the process must stop writing."""

    async def deregister(self, worker_id: str) -> list[Redelivery]:
        """Warm shutdown: remove the row and release (new epoch, due) whatever it still owned."""

    async def workers(self) -> list[WorkerRecord]:
        """All rows."""

    async def recover_dead(
        self, *, dead_after_seconds: float, also_dead: Sequence[str] = (), limit: int = 500
    ) -> list[Redelivery]:
        """Give runs of dead workers a new epoch, unowned and published_at = now; remove the rows.

        Dead: heartbeat overdue, or named in `also_dead` (their lock is free). Two recoverers at
        once: each run is returned to one of them. A worker's row goes only when it owns no run.
        """

    async def take_due(self, *, limit: int = 500) -> list[Redelivery]:
        """Waiting and parked runs whose time has come: mark published_at = now, return them."""

    async def take_lost(self, *, silent_seconds: float, limit: int) -> list[Redelivery]:
        """Due, unowned runs not published for `silent_seconds`: mark and return them."""

    async def queue_counts(self) -> list[QueueCounts]:
        """Per lane and direction."""


class WorkerLocks(Protocol):
    """Death by held lock: a worker process holds a lock that its end frees at once."""

    async def hold(self, worker_id: str) -> None:
        """Take and keep the lock of this process until `release` or death."""

    async def release(self) -> None:
        """Give it back."""

    async def free_among(self, worker_ids: Sequence[str]) -> list[str]:
        """Those whose lock nobody holds. Empty when this database cannot tell."""


class Store(WorkflowStore, RunStore, EscalationStore, WorkerStore, Protocol):
    """All of the above on one database."""

    async def close(self) -> None:
        """Return all connections."""


# --- ports: what leaves the process ---------------------------------------------------------------


def _always() -> bool:
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptContext:
    """Who sends: for headers, logs and Python functions; and a last look before it leaves."""

    run_id: str
    step_id: str
    attempt: int
    direction: Direction
    tenant: str
    may_leave: Callable[[], bool] = _always
    """Asked when the request is about to leave, with nothing to wait for in between. False: this
    process was held up and may have lost the run; the transport raises NotLanded (retryable)."""


class Transport(Protocol):
    """Sends one request of one kind (HTTP, or a call of a Python function)."""

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """The complete answer, whatever its status.

        Raises NotLanded when the request certainly did not leave (DNS, refused, TLS, egress, it
        may not any more), InDoubt when it may have (timeout, reset, truncated answer).
        """


class Permit(Protocol):
    """Leave to send one request now. Holds one of the API's slots until released."""

    @property
    def fresh(self) -> bool:
        """Whether the request may still leave: a rate reservation is only good for a moment."""

    def release(self) -> None:
        """Give the slot back. Safe to call twice."""


class GateBusy(Exception):
    """The API admits nobody within the caller's patience; come back after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"busy for about {seconds:.3f} s")


class Gate(Protocol):
    """Rate limits and concurrency of all APIs, the same for all workers."""

    def try_enter(self, api: str) -> Permit | None:
        """A permit if nothing makes it wait, without waiting and without I/O."""

    def expected_wait_seconds(self, api: str) -> float:
        """About how long somebody who came now would wait. Without I/O."""

    async def enter(self, api: str, *, patience_seconds: float) -> Permit:
        """Wait in turn for a permit. Raises GateBusy when it would take longer than patience.

        A permit is fresh: its request must leave at once. Fails closed while Redis is away.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """At most `amount` requests in any `seconds`."""

    amount: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Slots of one API that this process may fill: the smaller of `allowance` and `share`."""

    allowance: int  # kept free for this process by all others
    share: int  # what is fair now; a process above it lets slots run empty and says so
    valid_until: float  # time.monotonic(); not an instant longer
    review_at: float  # time.monotonic(); the share changes then, ask again


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Moments at which requests may leave, counted against every other process's."""

    starts: tuple[float, ...]  # time.monotonic(), ascending; as many as could be had soon
    next_at: float  # time.monotonic(); asking for more before is in vain
    processes: int  # that want this API now, this one included
    waiting_elsewhere: int  # requests that wait in the other processes


class SharedLimits(Protocol):
    """Limits of APIs as all processes agree on them. Every method raises Unavailable."""

    async def lease(self, api: str, *, limit: int, wanted: int, held: int) -> Lease:
        """Renew and resize this process's part of `limit` slots.

        `wanted` slots would be filled at once. `held` are those that are filled, or may be before
        the answer is here. The allowance is at least `held`; all allowances together never exceed
        the limit.
        """

    async def reserve(
        self,
        api: str,
        *,
        rates: Sequence[Rate],
        count: int,
        waiting: int,
        headroom_seconds: float,
        spacing_seconds: float,
    ) -> Reservation:
        """Reserve up to `count` start times, none of them far ahead, `spacing_seconds` apart.

        A request that arrives at the API at most `headroom_seconds` after its start time breaks
        no rate. A reservation that is not used is not given back.
        """

    async def leave(self, api: str) -> None:
        """Give this process's slots back."""


class HintPublisher(Protocol):
    """Puts wake-ups on the broker."""

    async def publish(self, hints: Sequence[Hint]) -> None:
        """All in few round trips. Raises Unavailable; the sweep will publish them later."""

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue."""


class DeadLetterQueue(Protocol):
    """The broker's `dead_letter` queue: one message for each open, unclaimed escalation."""

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """Add one message each."""

    async def take_next(self) -> str | None:
        """Remove the oldest message and return its escalation id; None when empty."""

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove the messages of these, if there."""

    async def listed(self) -> list[str]:
        """The escalation ids on the queue, oldest first, with repetitions."""


class StepEnd(StrEnum):
    """How a step that was shown as started is shown to go on, in Celery's words."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempt is left
    RETRIED = "retried"  # it waits for its next attempt, or for its API to admit it
    REVOKED = "revoked"  # the run turned back, or ended, before the step was done


class StepEvents(Protocol):
    """Tells watchers (Flower) how steps go, each as a Celery task. Methods return at once."""

    def step_started(self, hint: Hint, *, by_message: bool = False) -> None:
        """A step began. `by_message`: Celery has shown it, since a message brought it."""

    def step_revived(self, hint: Hint) -> None:
        """A step begun by message is tried again although it may have been shown as ended."""

    def step_ended(self, hint: Hint, end: StepEnd, *, seconds: float, detail: str = "") -> None:
        """It is over here; failures and compensations are never dropped by the budget."""

    def step_left(self, hint: Hint) -> None:
        """Somebody else goes on with it and will show its end."""


# --- ports: a worker process ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Hop:
    """One message as a worker took it from the broker."""

    hop_id: str
    parent_hop_id: str | None
    runs: tuple[tuple[str, int], ...]  # (run id, epoch)
    label: str
    task: str
    queue: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveRun:
    """A run in this process's hands, as watchers see it."""

    run_id: str
    epoch: int
    hop_id: str  # of the message or inline event of the step it is at
    parent_hop_id: str | None
    label: str
    task: str
    queue: str
    since: float  # UNIX time at which this step began


class Done(Protocol):
    """Called once when a hop is over, from any thread. `error` is None when all went well."""

    def __call__(self, error: BaseException | None = None) -> None: ...


class Runtime(Protocol):
    """The engine of one worker process, as Celery's side sees it. All methods are thread-safe."""

    def start(self, *, name: str) -> None:
        """Start the loop thread and register as `name`; returns when ready. Raises Unavailable."""

    def deliver(self, hop: Hop, done: Done) -> None:
        """Take a hop up; returns at once."""

    def active(self) -> list[ActiveRun]:
        """The runs in hand."""

    def drain(self, *, grace_seconds: float) -> None:
        """Hand runs back, let calls in flight end within the grace time, deregister, stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerFacts:
    """What a Redis or Valkey server says of itself. Sizes in bytes."""

    address: str  # without password
    version: str
    maxmemory_policy: str
    maxmemory: int  # 0: no limit
    used_memory: int
    append_only: bool
    round_trip_seconds: float


class BrokerInspector(Protocol):
    """Looks at the broker for `doctor`."""

    async def facts(self) -> BrokerFacts:
        """Raises Unavailable."""
