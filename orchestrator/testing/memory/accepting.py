"""Accept runs, take them over, and wish to cancel them; each call is one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.states import DUE, SETTLED, TIMED, Direction, RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    RESUMED,
    Accepted,
    JobItem,
    JobItemState,
    NewRun,
    Pause,
    Redelivery,
    RunRecord,
    hop_id_of,
)
from orchestrator.store.accepting import accepted_told
from orchestrator.store.codec import dump, storable
from orchestrator.store.notes import resumed_data
from orchestrator.testing.memory import jobs
from orchestrator.testing.memory.records import conflict, not_found, redelivery_of
from orchestrator.testing.memory.tables import AuditRow, MemoryDatabase, RunRow

MOST_CONFLICTS_SHOWN = 10


# --- accept ---------------------------------------------------------------------------------------


def accept(database: MemoryDatabase, runs: Sequence[NewRun]) -> list[Accepted]:
    """All or nothing. Raises Conflict, NotFound."""
    unknown = sorted({run.workflow_id for run in runs} - database.version_by_id.keys())
    if unknown:
        raise not_found("workflow version", ", ".join(unknown), "a published version")
    now = database.clock()
    batch = _Batch(database=database, ids={}, keys={})
    for run in sorted(runs, key=lambda run: (run.tenant, run.idempotency_key)):
        batch.add(run, now)
    answers = batch.answers(runs)
    for row in batch.ids.values():
        database.add_run(row)
    return answers


@dataclass(kw_only=True, slots=True)
class _Batch:
    """What would be inserted, by id and by key."""

    database: MemoryDatabase
    ids: dict[str, RunRow]
    keys: dict[tuple[str, str], RunRow]

    def add(self, run: NewRun, now: datetime) -> None:
        """Unless its id or its key is there."""
        key = (run.tenant, run.idempotency_key)
        if run.id in self.ids or run.id in self.database.runs or self.holder(key) is not None:
            return
        self.ids[run.id] = self.keys[key] = _new_row(run, now)

    def holder(self, key: tuple[str, str]) -> RunRow | None:
        """Whose key it is."""
        return self.keys.get(key) or self.database.run_by_key.get(key)

    def answers(self, runs: Sequence[NewRun]) -> list[Accepted]:
        """One for each run. Raises Conflict."""
        answers: list[Accepted] = []
        problems: list[Problem] = []
        seen: set[str] = set()
        for run in runs:
            holder = self.holder((run.tenant, run.idempotency_key))
            if holder is None or not _is_the_same(holder, run):
                problems.append(_clash(run, holder))
                continue
            first = holder.id == run.id and run.id in self.ids and run.id not in seen
            seen.add(run.id)
            answers.append(Accepted(run_id=holder.id, repeated=not first))
        if problems:
            raise Conflict(
                "an idempotency key is in use for something else; nothing was accepted",
                problems=problems[:MOST_CONFLICTS_SHOWN],
            )
        return answers


def _is_the_same(holder: RunRow, run: NewRun) -> bool:
    return (holder.workflow, holder.inputs_digest) == (run.workflow, run.inputs_digest)


def _clash(run: NewRun, holder: RunRow | None) -> Problem:
    if holder is None:
        return Problem(place=f"run {run.id}", found="the id of another run", wanted="a new id")
    return Problem(
        place=f"idempotency key {run.idempotency_key!r} of tenant {run.tenant!r}",
        found=f"run {holder.id} of workflow {holder.workflow}"
        f" with inputs digest {holder.inputs_digest[:12]}",
        wanted=f"workflow {run.workflow} with inputs digest {run.inputs_digest[:12]}",
    )


def _new_row(run: NewRun, now: datetime) -> RunRow:
    seconds = run.deadline_seconds
    row = RunRow(
        id=run.id, workflow_id=run.workflow_id, workflow=run.workflow, version=run.version,
        tenant=run.tenant, actor=run.actor, lane=run.lane, priority=run.priority,
        idempotency_key=run.idempotency_key, inputs_digest=run.inputs_digest,
        inputs=dump(run.inputs), created_at=now, published_at=now,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
        hop_id=hop_id_of(run.id, (0, Direction.FORWARD)), attributes=dict(run.attributes),
        traceparent=run.traceparent,
        tracestate=run.tracestate,
    )  # fmt: skip
    if (place := run.in_map) is not None:
        row.parent_id, row.depth, row.whole_id = place.parent_id, place.depth, place.whole_id
        row.map_id, row.item = place.map_id, place.index
    row.audit[1] = AuditRow(1, now, "run.accepted", run.actor, accepted_told(run))
    return row


def backlog(database: MemoryDatabase, most: int) -> Counter[str]:
    """By tenant, how many runs wait for a worker; no more than `most`."""
    waiting = sorted((database.runs[run_id] for run_id in database.announced), key=_published)
    return Counter(row.tenant for row in waiting[:most])


def _published(row: RunRow) -> datetime:
    assert row.published_at is not None, f"run {row.id} is announced and was not published"
    return row.published_at


# --- claim ----------------------------------------------------------------------------------------


def claim(
    database: MemoryDatabase,
    hints: Iterable[tuple[str, int]],
    *,
    owner: str,
    unheard: Mapping[tuple[str, int, str], int],
) -> list[RunRow]:
    """Those taken, in order of the hints. `unheard`: a run may be taken from ourselves."""
    if owner not in database.workers:
        return []
    now = database.clock()
    taken: list[RunRow] = []
    for run_id, epoch in dict.fromkeys(hints):
        row = database.runs.get(run_id)
        if row is None:
            continue
        free = row.owner is None and row.epoch == epoch and _is_due(row, now)
        free = free and stopping(database, row) is None
        lost = unheard.get((run_id, epoch, owner), 0)
        if free or (row.owner == owner and epoch < row.epoch <= epoch + lost):
            _take(database, row, owner, now)
            taken.append(row)
    return taken


def _is_due(row: RunRow, now: datetime) -> bool:
    if row.status in DUE:
        return True
    return row.status in TIMED and row.wake_at is not None and row.wake_at <= now


def _take(database: MemoryDatabase, row: RunRow, owner: str, now: datetime) -> None:
    row.owner = owner
    row.epoch += 1
    row.claims += 1
    row.started_at = row.started_at or now
    row.audit_shift = row.write_number = 0
    database.shelve(row)


def stopping(database: MemoryDatabase, row: RunRow) -> Pause | None:
    """The newest pause that lets the run begin nothing now."""
    found = (
        each for each in active_pauses(database)
        if each.stops(
            run_id=row.id, workflow=row.workflow, tenant=row.tenant, undoing=row.undoing,
            whole_id=row.whole_id,
        )
    )  # fmt: skip
    return next(found, None)


def active_pauses(database: MemoryDatabase) -> list[Pause]:
    """Neither ended nor past their time; newest first."""
    if not database.pauses:
        return []
    now = database.clock()
    return [
        each for each in database.pauses[::-1]
        if each.ended_at is None and (each.until is None or each.until > now)
    ]  # fmt: skip


# --- notes and wishes -----------------------------------------------------------------------------


def note(row: RunRow, kind: str, *, by: str, data: Mapping[str, Any], now: datetime) -> None:
    """An audit record by somebody else than the owner, whose own numbers move on."""
    row.audit_seq += 1
    if row.owner is not None:
        row.audit_shift += 1
    row.audit[row.audit_seq] = AuditRow(row.audit_seq, now, kind, storable(by), dump(data))


def request_cancel(
    database: MemoryDatabase, run_id: str, *, mode: CancelMode, reason: str, by: str,
    item: JobItem | None = None, seen: RunRecord | None = None,
) -> Redelivery | None:  # fmt: skip
    """What to publish, or None when an owner will see the wish. Raises Conflict, NotFound."""
    row = database.runs.get(run_id)
    if row is None:
        raise not_found("run", run_id, "the whole id of a run")
    if row.status in SETTLED:
        raise conflict(
            "the run cannot be cancelled any more", place=f"run {run_id}",
            found=f"status {row.status}", wanted="a run that is still going",
        )  # fmt: skip
    if seen is not None and (row.status, row.audit_seq) != (seen.status, seen.audit_seq):
        raise conflict(
            "the run has moved on since it was read", place=f"run {run_id}",
            found=f"status {row.status}, audit record {row.audit_seq}",
            wanted="as it was when it was read",
        )  # fmt: skip
    if item is not None:
        jobs.mark(database, item, JobItemState.DONE)
    now = database.clock()
    row.cancel_wish, row.cancel_reason = mode, storable(reason)
    note(row, "run.cancel_requested", by=by, data={"mode": mode, "reason": reason}, now=now)
    if row.owner is not None:
        return None
    if row.status is RunStatus.PAUSED:
        if stopping(database, row) is not None:
            return None
        note(row, RESUMED, by=by, data=resumed_data(None, now), now=now)
    _wake(database, row, now)
    return redelivery_of(row, "cancelled", now)


def _wake(database: MemoryDatabase, row: RunRow, now: datetime) -> None:
    """A paused run goes on, so that a worker takes it up; a waiting one need not wait any more."""
    row.published_at = now
    row.wake_at = now if row.status in TIMED else None
    if row.status is RunStatus.PAUSED:
        forward = row.direction is Direction.FORWARD
        row.status = RunStatus.RUNNING if forward else RunStatus.COMPENSATING
    database.shelve(row)
