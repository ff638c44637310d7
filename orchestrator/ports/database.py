"""The database: one protocol for each thing that is asked of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan
from orchestrator.core.states import RunStatus
from orchestrator.ports.acceptances import AcceptanceStore
from orchestrator.ports.aliases import AliasStore
from orchestrator.ports.apis import ApiStore
from orchestrator.ports.children import ChildStore
from orchestrator.ports.code_waits import CodeWaitStore
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.jobs import OPEN_ONES, EscalationFilter, JobItem, JobStore
from orchestrator.ports.maps import MapStore
from orchestrator.ports.moving import MovingStore
from orchestrator.ports.pauses import PauseStore
from orchestrator.ports.records import (
    Accepted,
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    DatabaseRoom,
    EscalationRecord,
    Flow,
    NewRerun,
    NewRun,
    Progress,
    QueueCounts,
    RunFilter,
    RunRecord,
    RunWrite,
    SessionFacts,
    Signals,
    StepRecord,
    WorkerRecord,
    WorkflowVersion,
)
from orchestrator.ports.surveys import SurveyStore
from orchestrator.ports.vouching import Signer
from orchestrator.ports.waiting import WaitStore


class WorkflowStore(AliasStore, Protocol):
    """Published workflow versions."""

    async def publish(
        self, plan: Plan, *, document: str, by: str, operations: str = "",
        signer: Signer | None = None,
    ) -> tuple[WorkflowVersion, bool]:  # fmt: skip
        """Store the next version; the same plan as the latest one is answered with it, False.

        With a `signer` what is answered is signed in the same transaction. Where the latest one has
        the same plan and is not signed by it, it is signed if its texts are the same too; if not,
        what is given becomes the next version.
        """

    async def keep_signature(self, workflow_id: str, *, key_id: str, signature: bytes) -> None:
        """Keep this signature with a version, in place of one that it has."""

    async def workflow(self, name: str, version: int | None = None) -> WorkflowVersion:
        """A version, or the latest. Raises NotFound that names what exists."""

    async def workflow_by_id(self, workflow_id: str) -> WorkflowVersion:
        """The version that a run pins; of one that was moved, all of its versions as one.

        Raises NotFound.
        """

    async def workflows(self) -> list[WorkflowVersion]:
        """The latest version of each workflow, by name."""

    async def changes_published(self) -> int:
        """How often a version was published, or an alias changed; it only grows."""

    async def offered_ids(self) -> Mapping[str, str]:
        """By name, the id of the version of each workflow that who names none gets.

        That is the one that `stable` names, else the latest; a share for `canary` is left out.
        """

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

    async def accept_rerun(self, new: NewRerun, *, item: JobItem | None = None) -> Accepted:
        """Insert a run that stands where its saga does, with its links; audited with both runs.

        Answers a key that is known, and raises, as `accept` does. With `item`, it is done for a job
        in the same transaction, once, unless the key was known. Raises JobHeld.
        """

    async def backlog(self, most: int) -> Mapping[str, int]:
        """How many runs wait for a worker (a hint was published, nobody has claimed), by tenant.

        No more than `most` are counted in all, the longest waiting first; what it costs grows with
        them alone.
        """

    async def claim(self, hints: Sequence[tuple[str, int]], *, owner: str) -> list[ClaimedRun]:
        """Take each (run id, epoch) that is unowned, due and still at that epoch.

        Sets owner, adds 1 to epoch and claims, sets started_at the first time. Due: pending,
        running, compensating; or waiting/parked with wake_at <= now; and no pause stops it (one
        that turns back goes on, unless the pause says otherwise). The rest is left out, and all of
        it when `owner` has no row (it was declared dead and does not know it yet: its runs
        would be taken from it at once). One transaction. Returned records carry the new epoch.
        """

    async def record(self, writes: Sequence[RunWrite]) -> list[Signals | None]:
        """Apply each write whose (owner, epoch) holds, all in one transaction.

        None stands for a refused (stale) one, of which nothing at all is written. settled_at is
        set when the status becomes final or escalated. A hinted write sets published_at = now.
        A release that would let the run wait or pause does not release it while there is a wish to
        cancel that the write neither takes up nor refuses: the wish, in the answer, comes first.
        Refused is also what has a lower `number` than the run's latest write: a statement that its
        sender gave up may still run later. Row locks are taken in the order of run ids. Repeating a
        batch whose commit's answer was lost is harmless: attempts, audit records and escalations
        that are there already are left alone.
        """

    async def run(self, run_id: str) -> RunRecord:
        """One run. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """All steps of a run in order of the plan."""

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """All attempts, oldest first."""

    async def audit(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[AuditRecord]:
        """Audit records by seq: those above `after`, `limit` of them at most."""

    async def progress(self, run_ids: Collection[str]) -> Mapping[str, Progress]:
        """How far each of these runs has come; unknown ones are left out. One cheap statement."""

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """A page of runs, newest first."""

    async def attributes(self, run_ids: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """Their attributes by name, of those runs that have some."""

    async def count_by_status(self, *, since: datetime | None = None) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs.

        `since` leaves out final runs that were accepted before it, and keeps the cost of an answer
        from growing with them.
        """

    async def flow(self, *, seconds: float) -> Flow:
        """What was accepted and what settled in the last `seconds`; costs what that was."""

    async def request_cancel(
        self,
        run_id: str,
        *,
        mode: CancelMode,
        reason: str,
        by: str,
        item: JobItem | None = None,
        seen: RunRecord | None = None,
    ) -> Redelivery | None:
        """Write the wish (audited) and, if nobody owns the run, make it due at once.

        Returns what to publish, or None when its owner will see the signal. With `item`, it is done
        for a job in the same transaction, once. With `seen`, only if nothing has happened to the
        run since it was read so. Raises Conflict (for a settled run), JobHeld, NotFound.
        """


class EscalationStore(Protocol):
    """The dead-letter table of record."""

    async def escalation(self, escalation_id: str) -> EscalationRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""

    async def escalations(self, which: EscalationFilter = OPEN_ONES) -> list[EscalationRecord]:
        """Those that the filter names, oldest first."""

    async def escalations_of(self, run_id: str) -> list[EscalationRecord]:
        """All of one run, open and closed, oldest first."""

    async def open_unclaimed(self) -> list[str]:
        """Ids that must be on the broker's dead-letter queue."""

    async def claim_escalation(
        self, escalation_id: str, *, by: str, for_seconds: float | None = None
    ) -> EscalationRecord:
        """Take one that is open and unclaimed, audited. Raises Conflict naming who has it.

        With a time the claim ends by itself after it (`release_expired_claims`).
        """

    async def assign_escalation(
        self,
        escalation_id: str,
        *,
        to: str,
        by: str,
        for_seconds: float | None = None,
        seen: EscalationRecord | None = None,
    ) -> EscalationRecord:
        """Give one that is open to somebody, whoever has it, audited. Raises Conflict, NotFound.

        With `seen`, only if nobody has taken it or given it back since it was read so.
        """

    async def comment_escalation(self, escalation_id: str, text: str, *, by: str) -> None:
        """Add a remark to the audit of its run, also when it is closed. Raises NotFound."""

    async def release_expired_claims(self, *, limit: int = 100) -> list[EscalationRecord]:
        """Give those back whose claim has ended, audited: they are unclaimed from now on."""

    async def release_escalation(
        self, escalation_id: str, *, by: str, seen: EscalationRecord | None = None
    ) -> EscalationRecord:
        """Give it back, audited. Raises Conflict when it is closed or not claimed.

        With `seen`, only if nobody has taken it or given it back since it was read so.
        """

    async def act(
        self,
        escalation_id: str,
        write: RunWrite,
        *,
        expected_epoch: int,
        resolution: str,
        by: str,
        reason: str,
        seen: EscalationRecord | None = None,
        item: JobItem | None = None,
    ) -> list[Redelivery]:
        """Close the escalation and apply the run's write in one transaction.

        Guarded by: the escalation is open, and the run is escalated, unowned and at
        `expected_epoch`; the run's epoch becomes write.epoch. With `seen`, also by that: nobody has
        taken it or given it back since it was read so. With `item`, it is done for a job in the
        same transaction, once. Returns what to publish of runs that are stopped with it. Raises
        Conflict, JobHeld.
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
        once: each run is returned to one of them. A worker's row goes first, whatever the limit, so
        that it is told of by its next heartbeat; runs that are left are those of a worker unknown.
        """

    async def take_due(self, *, limit: int = 500) -> list[Redelivery]:
        """Waiting and parked runs whose time has come: mark published_at = now, return them."""

    async def due_in_seconds(self) -> float | None:
        """Until the next of those that sleep is due, by the database's clock; 0 or less: some are.

        None: nobody sleeps.
        """

    async def recall(self, run_ids: Sequence[str]) -> list[Redelivery]:
        """The time of those that are parked has come: mark them and return them as `take_due` does.

        The rest is left alone, waits for a retry included.
        """

    async def take_lost(self, *, silent_seconds: float, limit: int) -> list[Redelivery]:
        """Due, unowned runs not published for `silent_seconds`: mark and return them."""

    async def room(self) -> DatabaseRoom | None:
        """Connections that the server allows; None where there is no server (SQLite)."""

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


class SessionInspector(Protocol):
    """Looks for poolers between here and the database."""

    async def facts(self) -> SessionFacts | None:
        """None where there are no sessions (SQLite). Raises Unavailable."""


class Store(
    WorkflowStore, RunStore, WaitStore, EscalationStore, WorkerStore, ApiStore, AcceptanceStore,
    ChildStore, CodeWaitStore, MapStore, MovingStore, JobStore, PauseStore, SurveyStore, Protocol,
):  # fmt: skip
    """All of the above on one database."""

    async def close(self) -> None:
        """Return all connections."""
