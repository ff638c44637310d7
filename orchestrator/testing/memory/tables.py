"""The tables of a database in memory, and the shelves on which the sweeps find their runs.

Rows are changed in place. Payloads are kept as the text that a database would hold, so that nothing
written is shared with its writer and what is not JSON is refused here as it is there. No order ever
comes from a set: a simulation has to happen the same way again in another process.

Where an unowned run stands decides which shelf holds it, as a partial index does in SQL:

    announced    a hint should be on the broker: `published_at` is set
    sleeping     waiting or parked, nobody told yet: `published_at` is None
    neither      paused, escalated or final
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple

from orchestrator.core.events import CancelMode
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.maps import Counts, ItemOutcome
from orchestrator.core.path import Path
from orchestrator.core.saga import EscalationReason, Link
from orchestrator.core.severity import Severity
from orchestrator.core.states import DUE, TIMED, Direction, RunStatus
from orchestrator.ports import (
    Acceptance,
    ApiChange,
    ApiOverride,
    Asks,
    AttemptRecord,
    JobItemRecord,
    JobRecord,
    Pause,
    StepRecord,
    WaitOutcome,
    WorkflowVersion,
)
from orchestrator.ports.aliases import AliasChange, AliasRecord

HINTED = DUE | TIMED


@dataclass(kw_only=True, slots=True)
class LinkRow:
    """A link that something has happened to."""

    link: Link
    request: FrozenRequest | None = None
    outputs: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class AuditRow(NamedTuple):
    """An audit record; its data as text."""

    seq: int
    at: datetime
    kind: str
    actor: str
    data: str


@dataclass(kw_only=True, slots=True)
class WaitRow:
    """An answer that a run waits, or has waited, for."""

    id: str
    run_id: str
    step: int
    attempt: int
    step_id: str
    asks: Asks
    signal: str | None
    asked: str
    opened_at: datetime
    expires_at: datetime | None
    remind_seconds: float | None
    remind_at: datetime | None = None
    reminders: int = 0
    closed_at: datetime | None = None
    outcome: WaitOutcome | None = None
    answer: str | None = None
    closed_by: str | None = None
    via: str | None = None


@dataclass(kw_only=True, slots=True)
class SignalRow:
    """A signal that was sent to a run."""

    run_id: str
    number: int
    name: str
    key: str
    data: str
    sent_at: datetime
    sent_by: str
    via: str
    wait_id: str | None = None


@dataclass(kw_only=True, slots=True)
class RunRow:
    """A run with everything that hangs on it."""

    id: str
    workflow_id: str
    workflow: str
    version: int
    tenant: str
    actor: str
    lane: str
    priority: int
    idempotency_key: str
    inputs_digest: str
    inputs: str
    created_at: datetime
    deadline_at: datetime | None
    published_at: datetime | None
    hop_id: str
    traceparent: str | None = None
    tracestate: str | None = None
    parent_id: str | None = None
    wait_id: str | None = None
    depth: int = 0
    branch: str | None = None
    whole_id: str | None = None
    fails_fast: bool | None = None
    map_id: str | None = None
    item: int | None = None
    status: RunStatus = RunStatus.PENDING
    direction: Direction = Direction.FORWARD
    step: int | None = 0  # of the plan: where it stood when last written
    path: Path | None = None  # its way once it has left the straight one
    epoch: int = 0
    owner: str | None = None
    claims: int = 0
    parent_hop_id: str | None = None
    wake_at: datetime | None = None
    cancel: CancelMode | None = None  # taken up by the engine
    cancel_wish: CancelMode | None = None  # asked for by somebody
    cancel_reason: str = ""
    cause: str = ""
    outputs: str | None = None
    started_at: datetime | None = None
    settled_at: datetime | None = None
    audit_seq: int = 1
    write_number: int = 0  # of the owner's latest write since its claim
    audit_shift: int = 0  # audit records that others than the owner wrote since its claim
    rerun_of: str | None = None

    attributes: dict[str, str] = field(default_factory=dict)
    links: dict[int, LinkRow] = field(default_factory=dict)  # by `place_of`
    attempts: dict[str, AttemptRecord] = field(default_factory=dict)
    audit: dict[int, AuditRow] = field(default_factory=dict)
    waits: list[WaitRow] = field(default_factory=list)
    signals: list[SignalRow] = field(default_factory=list)
    escalations: list[str] = field(default_factory=list)
    open_escalation: str | None = None

    # What the shelves know of it.
    counted_as: RunStatus | None = None
    shelved_for: str | None = None
    announced_at: datetime | None = None
    asleep_until: datetime | None = None

    @property
    def undoing(self) -> bool:
        """Whether it goes back, or is to."""
        wished = self.cancel is not None or self.cancel_wish is not None
        return wished or self.direction is Direction.BACKWARD

    @property
    def announced(self) -> bool:
        """Whether a hint for it should be on the broker."""
        return self.owner is None and self.published_at is not None and self.status in HINTED

    @property
    def sleeping(self) -> bool:
        """Whether it waits for its time and nobody was told yet."""
        return self.owner is None and self.published_at is None and self.status in TIMED


def place_of(step: int, direction: Direction) -> int:
    """A link's key among its run's links."""
    return 2 * step + (direction is Direction.BACKWARD)


@dataclass(kw_only=True, slots=True)
class EscalationRow:
    """A dead letter."""

    id: str
    run_id: str
    reason: EscalationReason
    detail: str
    step: int | None
    step_id: str | None
    direction: Direction
    context: str
    opened_at: datetime
    claimed_by: str | None = None
    claimed_at: datetime | None = None
    closed_at: datetime | None = None
    resolution: str | None = None
    closed_by: str | None = None
    closing_reason: str | None = None
    api: str | None = None
    claimed_until: datetime | None = None
    severity: Severity | None = None
    due_seconds: float | None = None


@dataclass(kw_only=True, slots=True)
class MapItemRow:
    """An item of a map that has begun."""

    index: int
    run_id: str
    outcome: ItemOutcome = ItemOutcome.RUNNING
    place: int | None = None  # in the order of completion of those that succeeded


@dataclass(kw_only=True, slots=True)
class MapRow:
    """A map over data."""

    id: str
    run_id: str
    step_id: str
    workflow_id: str
    workflow: str
    version: int
    given: str
    undoes: str | None
    counts: Counts
    values: list[str]  # the items, by chunk
    cursor: int | None = None
    cancel: CancelMode | None = None
    is_open: bool = True
    items: dict[int, MapItemRow] = field(default_factory=dict)  # by index


@dataclass(kw_only=True, slots=True)
class WorkerRow:
    """A worker process."""

    id: str
    name: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    active_runs: int
    reserved: int
    version: str


Alarms = list[tuple[datetime, str]]
"""A heap of (time, run id); whoever takes an entry checks that the run still stands there."""


class MemoryDatabase:
    """What all stores of one database share. `clock` is the database's own: aware, in UTC."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.versions: dict[str, list[WorkflowVersion]] = {}  # by name, oldest first
        self.version_by_id: dict[str, WorkflowVersion] = {}
        self.aliases: dict[tuple[str, str], AliasRecord] = {}  # (workflow, alias)
        self.alias_changes: list[AliasChange] = []  # oldest first
        self.code_waits: dict[str, tuple[str, datetime]] = {}  # run -> code, since
        self.blank_steps: dict[str, tuple[StepRecord, ...]] = {}  # by version, untouched
        self.runs: dict[str, RunRow] = {}
        self.run_by_key: dict[tuple[str, str], RunRow] = {}  # (tenant, idempotency key)
        self.waits: dict[str, WaitRow] = {}
        self.awaited: dict[str, list[RunRow]] = {}  # wait -> the children that answer it
        self.maps: dict[str, MapRow] = {}  # by the wait that the end answers
        self.escalations: dict[str, EscalationRow] = {}
        self.open_escalations: dict[str, EscalationRow] = {}
        self.workers: dict[str, WorkerRow] = {}
        self.api_overrides: dict[str, ApiOverride] = {}
        self.api_changes: dict[str, list[ApiChange]] = {}  # by API, oldest first
        self.acceptances: list[Acceptance] = []  # oldest first
        self.jobs: dict[str, JobRecord] = {}
        self.job_by_key: dict[tuple[str, str], str] = {}  # (tenant, key) -> id
        self.job_items: dict[str, dict[str, JobItemRecord]] = {}  # by job, by item
        self.pauses: list[Pause] = []  # oldest first
        self.held_locks: dict[str, object] = {}  # worker id -> the MemoryLocks that holds it

        self.statuses: dict[RunStatus, int] = dict.fromkeys(RunStatus, 0)
        self.owned: dict[str, dict[str, RunRow]] = {}  # owner -> its runs by id
        self.announced: dict[str, RunRow] = {}
        self.sleeping: dict[str, RunRow] = {}
        self._silent: Alarms = []  # by published_at
        self._waking: Alarms = []  # by wake_at
        self._ids: list[str] = []
        self._ids_sorted = True

    @property
    def unsettled(self) -> int:
        """Runs that a worker still has something to do for."""
        statuses = self.statuses
        return sum(statuses[each] for each in (*sorted(HINTED), RunStatus.PAUSED))

    def run_ids(self) -> list[str]:
        """All ids, ascending. Not to be changed."""
        if not self._ids_sorted:
            self._ids.sort()
            self._ids_sorted = True
        return self._ids

    def add_run(self, row: RunRow) -> None:
        """A row that is not there yet."""
        self.runs[row.id] = row
        self.run_by_key[row.tenant, row.idempotency_key] = row
        if self._ids and row.id < self._ids[-1]:
            self._ids_sorted = False
        self._ids.append(row.id)
        self.shelve(row)

    # --- shelves ----------------------------------------------------------------------------------

    def shelve(self, row: RunRow) -> None:
        """Put a changed run where its owner, status and times say that it belongs."""
        if row.counted_as is not row.status:
            if row.counted_as is not None:
                self.statuses[row.counted_as] -= 1
            self.statuses[row.status] += 1
            row.counted_as = row.status
        if row.shelved_for != row.owner:
            self._change_owner(row)
        if row.announced:
            self._announce(row)
        elif row.announced_at is not None:
            del self.announced[row.id]
            row.announced_at = None
        if row.sleeping and row.wake_at is not None:
            self._lay_down(row)
        elif row.asleep_until is not None:
            del self.sleeping[row.id]
            row.asleep_until = None

    def _change_owner(self, row: RunRow) -> None:
        if row.shelved_for is not None:
            theirs = self.owned[row.shelved_for]
            del theirs[row.id]
            if not theirs:
                del self.owned[row.shelved_for]
        if row.owner is not None:
            self.owned.setdefault(row.owner, {})[row.id] = row
        row.shelved_for = row.owner

    def _announce(self, row: RunRow) -> None:
        at = row.published_at
        assert at is not None
        if row.announced_at != at:
            heappush(self._silent, (at, row.id))
            self.announced[row.id] = row
            row.announced_at = at

    def _lay_down(self, row: RunRow) -> None:
        at = row.wake_at
        assert at is not None
        if row.asleep_until != at:
            heappush(self._waking, (at, row.id))
            self.sleeping[row.id] = row
            row.asleep_until = at

    def take_woken(self, now: datetime, most: int) -> list[RunRow]:
        """Sleeping runs whose time has come, the earliest first. The caller marks and shelves."""
        found: list[RunRow] = []
        heap = self._waking
        while heap and heap[0][0] <= now and len(found) < most:
            at, run_id = heappop(heap)
            row = self.sleeping.get(run_id)
            if row is not None and row.asleep_until == at:
                del self.sleeping[run_id]
                row.asleep_until = None
                found.append(row)
        return found

    def is_silent_since(self, before: datetime) -> bool:
        """Whether an announced run has not been published since."""
        heap = self._silent
        while heap and not self._is_announced(*heap[0]):
            heappop(heap)
        return bool(heap) and heap[0][0] < before

    def _is_announced(self, at: datetime, run_id: str) -> bool:
        row = self.announced.get(run_id)
        return row is not None and row.announced_at == at

    def take_silent(self, before: datetime, most: int) -> list[RunRow]:
        """Announced runs not published since, the oldest first. The caller marks and shelves."""
        found: list[RunRow] = []
        heap = self._silent
        while heap and heap[0][0] < before and len(found) < most:
            at, run_id = heappop(heap)
            row = self.announced.get(run_id)
            if row is not None and row.announced_at == at:
                del self.announced[run_id]
                row.announced_at = None
                found.append(row)
        return found
