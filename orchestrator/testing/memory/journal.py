"""What runs have to record, guarded by owner and epoch; and what people decide about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from orchestrator.core.saga import current
from orchestrator.core.states import ASLEEP, SETTLED
from orchestrator.ports import (
    Asks,
    LinkWrite,
    NewEscalation,
    RunWrite,
    Signals,
    WaitOutcome,
    hop_ids,
)
from orchestrator.store.codec import dump, dump_optional, storable
from orchestrator.testing.memory.tables import (
    AuditRow,
    EscalationRow,
    LinkRow,
    MemoryDatabase,
    RunRow,
    place_of,
)

_NOTHING = Signals()


def record(database: MemoryDatabase, writes: Sequence[RunWrite]) -> list[Signals | None]:
    """None stands for a refused write, of which nothing at all is written."""
    now = database.clock()
    return [_record(database, write, now) for write in writes]


def _record(database: MemoryDatabase, write: RunWrite, now: datetime) -> Signals | None:
    row = database.runs.get(write.run_id)
    if row is None or row.owner is None or (row.owner, row.epoch) != (write.owner, write.epoch):
        return None
    if write.number < row.write_number:
        return None
    again = write.number == row.write_number
    row.write_number = write.number
    _set_run(row, write, now)
    if write.saga.status in SETTLED:
        row.settled_at = row.settled_at or now
    else:
        row.settled_at = None
    if write.audit:
        row.audit_seq = max(row.audit_seq, write.audit[-1].seq + row.audit_shift)
    database.shelve(row)
    if again:  # what it adds is there already
        write = replace(write, attempts=(), audit=())
    write_details(database, row, write, now, shift=row.audit_shift)
    wish = row.cancel_wish
    return _NOTHING if wish is None else Signals(cancel=wish, cancel_reason=row.cancel_reason)


def apply_decision(database: MemoryDatabase, row: RunRow, write: RunWrite, now: datetime) -> None:
    """A person's write: it sets the epoch, releases, and numbers its audit on from what is there.

    The caller has checked the guard.
    """
    audit = tuple(
        replace(record, seq=row.audit_seq + place) for place, record in enumerate(write.audit, 1)
    )
    write = replace(write, audit=audit, release=True)
    _set_run(row, write, now)
    row.epoch = write.epoch
    row.settled_at = now if write.saga.status in SETTLED else None
    if audit:
        row.audit_seq = audit[-1].seq
    database.shelve(row)
    write_details(database, row, write, now, shift=0)


def _set_run(row: RunRow, write: RunWrite, now: datetime) -> None:
    """All but epoch, settled_at and audit_seq."""
    saga = write.saga
    sleeps = write.release and saga.status in ASLEEP
    # A run that would sleep, while the wish to cancel it is unanswered, stays with its owner.
    stays = (
        sleeps and row.cancel_wish is not None and saga.cancel is None and not write.refuses_cancel
    )
    row.status, row.direction, row.wake_at = saga.status, saga.direction, saga.wake_at
    row.cancel, row.cause, row.deadline_at = saga.cancel, storable(saga.cause), saga.deadline_at
    if saga.plan.steps:  # without a plan it is given back as it was
        at = current(saga)
        row.step = None if at is None else saga.path.steps[at[0]]
        row.path = row.path if saga.path.is_straight else saga.path
        row.hop_id, row.parent_hop_id = hop_ids(write.run_id, saga)
    if write.progressed:
        row.claims = 0
    if (write.release or saga.status in SETTLED) and not stays:
        row.owner = None
    if write.hinted:
        row.published_at = now
    elif sleeps and not stays:
        row.published_at = None
    if write.refuses_cancel:
        row.cancel_wish = None
    if write.outputs is not None:
        row.outputs = dump(write.outputs)


def write_details(
    database: MemoryDatabase, row: RunRow, write: RunWrite, now: datetime, *, shift: int
) -> None:
    """Links as they are now; attempts and audit records; an escalation unless one is open."""
    for change in write.links:
        _change_link(row, change)
    for made in write.attempts:
        assert made.id not in row.attempts, "a primary key is used twice"
        reason = storable(made.reason)
        row.attempts[made.id] = made if reason is made.reason else replace(made, reason=reason)
    for one in write.audit:
        seq = one.seq + shift
        assert seq not in row.audit, "a primary key is used twice"
        row.audit[seq] = AuditRow(seq, one.at, one.kind, one.actor, dump(one.data))
    if write.withdraws:
        withdraw(row, now)
    if write.escalation is not None:
        _open(database, row, write, write.escalation, now)


def withdraw(row: RunRow, now: datetime) -> None:
    """What it waited for is not waited for any more."""
    for wait in row.waits:
        if wait.closed_at is None and wait.asks is not Asks.UNDO:
            over = wait.expires_at is not None and wait.expires_at <= now
            slept = wait.asks is Asks.SLEEP and over
            wait.closed_at = now
            wait.outcome = WaitOutcome.EXPIRED if slept else WaitOutcome.WITHDRAWN


def _change_link(row: RunRow, change: LinkWrite) -> None:
    """A payload or time that is None stays as it was."""
    place = place_of(change.step, change.direction)
    found = row.links.get(place)
    if found is None:
        found = row.links[place] = LinkRow(link=change.link)
    found.link = change.link
    found.request = change.request or found.request
    found.outputs = dump_optional(change.outputs) or found.outputs
    if change.error is not None:
        found.error = storable(change.error)
    found.started_at = change.started_at or found.started_at
    found.finished_at = change.finished_at or found.finished_at


def _open(
    database: MemoryDatabase, row: RunRow, write: RunWrite, new: NewEscalation, now: datetime
) -> None:
    """A run with an open escalation gets no second one."""
    if new.id in database.escalations or row.open_escalation is not None:
        return
    step_id = None if new.step is None else write.saga.plan_step(new.step).id
    opened = EscalationRow(
        id=new.id, run_id=row.id, reason=new.reason, detail=storable(new.detail), step=new.step,
        step_id=step_id, direction=new.direction, context=dump(new.context), opened_at=now,
        api=new.api, severity=new.severity, due_seconds=new.due_seconds,
    )  # fmt: skip
    database.escalations[new.id] = database.open_escalations[new.id] = opened
    row.escalations.append(new.id)
    row.open_escalation = new.id
