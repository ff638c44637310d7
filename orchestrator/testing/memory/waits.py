"""Answers that runs wait for; each call is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.ports import (
    Asks,
    Awaited,
    Awaiting,
    Decision,
    NewSignal,
    NewWait,
    Redelivery,
    SignalReceipt,
    SignalRecord,
    Signals,
    WaitOutcome,
    WaitRecord,
)
from orchestrator.ports.waiting import said_of
from orchestrator.store.codec import dump, load, load_optional, storable
from orchestrator.testing.memory import children, journal, maps
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.records import conflict, not_found, redelivery_of, row_like
from orchestrator.testing.memory.tables import MemoryDatabase, RunRow, SignalRow, WaitRow

MOST_SIGNALS = 10_000


def await_answers(database: MemoryDatabase, given: Sequence[Awaiting]) -> list[Awaited | None]:
    """None stands for a refused write, of which nothing at all is written."""
    return [_await(database, each) for each in given]


def _await(database: MemoryDatabase, given: Awaiting) -> Awaited | None:
    write, now = given.write, database.clock()
    if write is None:
        return _look(database, given.wait, now)
    run = database.runs.get(write.run_id)
    if run is None or run.owner is None or (run.owner, run.epoch) != (write.owner, write.epoch):
        return None
    if write.number < run.write_number:
        return None
    wait = _opened(database, run, given.wait, now)
    if given.children and wait.id == given.wait.id:
        children.begin(database, run, wait, given.children)
    if given.map is not None and wait.id == given.wait.id:
        maps.begin(database, run, wait, given.map, now)
    _settle(run, wait, now)
    _remind(run, wait, now)
    record = wait_of(database, wait)
    if wait.closed_at is None:
        times = [at for at in (write.saga.wake_at, wait.expires_at, wait.remind_at) if at]
        write = msgspec.structs.replace(write, saga=replace(write.saga, wake_at=min(times)))
    else:
        due = replace(write.saga, wake_at=wait.closed_at)
        write = msgspec.structs.replace(write, saga=due, release=False)
    (signals,) = journal.record(database, [write])
    assert signals is not None, "the guard was checked above"
    return Awaited(wait=record, signals=signals)


def _look(database: MemoryDatabase, asked: NewWait, now: datetime) -> Awaited | None:
    """A sleep whose time is over is told as closed."""
    run = database.runs.get(asked.run_id)
    key = (asked.step, asked.attempt)
    for wait in () if run is None else run.waits:
        if (wait.step, wait.attempt) == key:
            record = wait_of(database, wait)
            if _is_slept_out(wait, now):
                record = msgspec.structs.replace(
                    record, closed_at=now, outcome=WaitOutcome.EXPIRED
                )  # fmt: skip
            return Awaited(wait=record, signals=Signals())
    return None


def _is_slept_out(wait: WaitRow, now: datetime) -> bool:
    over = wait.expires_at is not None and wait.expires_at <= now
    return wait.asks is Asks.SLEEP and wait.closed_at is None and over


def _opened(database: MemoryDatabase, run: RunRow, new: NewWait, now: datetime) -> WaitRow:
    for wait in run.waits:
        if (wait.step, wait.attempt) == (new.step, new.attempt):
            return wait
    wait = WaitRow(
        id=new.id, run_id=run.id, step=new.step, attempt=new.attempt, step_id=new.step_id,
        asks=new.asks, signal=new.signal, asked=dump(new.asked), opened_at=now,
        expires_at=new.expires_at, remind_seconds=new.remind_seconds,
    )  # fmt: skip
    if new.remind_seconds is not None:
        wait.remind_at = now + timedelta(seconds=new.remind_seconds)
    run.waits.append(wait)
    database.waits[wait.id] = wait
    return wait


def _settle(run: RunRow, wait: WaitRow, now: datetime) -> None:
    """The oldest kept signal of its name is the answer; else its time may be over."""
    if wait.closed_at is not None:
        return
    kept = (
        signal for signal in run.signals
        if signal.wait_id is None and signal.name == wait.signal and not _is_late(wait, signal, now)
    )  # fmt: skip
    signal = next(kept, None)
    if signal is not None:
        signal.wait_id = wait.id
        wait.closed_at, wait.outcome = now, WaitOutcome.ANSWERED
    elif wait.expires_at is not None and wait.expires_at <= now:
        wait.closed_at, wait.outcome = now, WaitOutcome.EXPIRED


def _is_late(wait: WaitRow, signal: SignalRow, now: datetime) -> bool:
    expires = wait.expires_at
    return expires is not None and expires <= now and expires <= signal.sent_at


def _remind(run: RunRow, wait: WaitRow, now: datetime) -> None:
    """Note a reminder that is due."""
    if wait.closed_at is not None or wait.remind_at is None or wait.remind_at > now:
        return
    assert wait.remind_seconds is not None, "who has a time to remind at has an interval"
    wait.reminders += 1
    wait.remind_at = now + timedelta(seconds=wait.remind_seconds)
    told = {"wait": wait.id, "step": wait.step_id, "times": wait.reminders}
    note(run, "approval.reminded", by="engine", data=told, now=now)


# --- those who answer -----------------------------------------------------------------------------


def send_signal(database: MemoryDatabase, new: NewSignal) -> SignalReceipt:
    """Raises Conflict, NotFound."""
    run = _run(database, new.run_id)
    key, now = storable(new.key), database.clock()
    for known in run.signals:
        if (known.name, known.key) == (new.name, key):
            return _repeated(signal_of(known), new)
    _check_goes_forward(run)
    if len(run.signals) >= MOST_SIGNALS:
        raise conflict(
            "the run takes no more signals", place=f"run {run.id}",
            found=f"{MOST_SIGNALS} signals that were sent to it", wanted=f"at most {MOST_SIGNALS}",
        )  # fmt: skip
    signal = SignalRow(
        run_id=run.id, number=len(run.signals) + 1, name=new.name, key=key, data=dump(new.data),
        sent_at=now, sent_by=storable(new.by), via=new.via,
    )  # fmt: skip
    run.signals.append(signal)
    redelivery = _delivered(database, run, signal, now)
    told = {
        "name": new.name, "key": new.key, "number": signal.number, "via": new.via,
        "answers": signal.wait_id,
    }  # fmt: skip
    note(run, "signal.received", by=new.by, data=told, now=now)
    return SignalReceipt(signal=signal_of(signal), repeated=False, redelivery=redelivery)


def _delivered(
    database: MemoryDatabase, run: RunRow, signal: SignalRow, now: datetime
) -> Redelivery | None:
    for wait in run.waits:
        if wait.closed_at is None and wait.signal == signal.name:
            _settle(run, wait, now)
            return _woken(database, run, now)
    return None


def decide(
    database: MemoryDatabase,
    wait_id: str,
    decision: Decision,
    *,
    by: str,
    via: str,
    reason: str,
    data: Mapping[str, Any],
) -> tuple[WaitRecord, Redelivery | None]:
    """Raises Conflict, NotFound."""
    wait: WaitRow = row_like(database.waits, wait_id, "approval")
    run, now = _run(database, wait.run_id), database.clock()
    _check_undecided(wait, run, now)
    answer = {
        "decision": decision, "by": by, "via": via, "reason": reason, "data": data,
        "at": now.isoformat(),
    }  # fmt: skip
    wait.closed_at, wait.outcome = now, WaitOutcome(decision)
    wait.answer, wait.closed_by, wait.via = dump(answer), storable(by), via
    told = {
        "wait": wait.id, "step": wait.step_id, "decision": decision, "reason": reason, "via": via,
    }  # fmt: skip
    note(run, "approval.decided", by=by, data=told, now=now)
    redelivery = _woken(database, run, now)
    return wait_of(database, wait), redelivery


def _run(database: MemoryDatabase, run_id: str) -> RunRow:
    row = database.runs.get(run_id)
    if row is None:
        raise not_found("run", run_id, "the whole id of a run")
    return row


def _woken(database: MemoryDatabase, run: RunRow, now: datetime) -> Redelivery | None:
    if run.owner is None and run.status is RunStatus.PAUSED:
        run.wake_at = now
    if run.owner is not None or run.status is not RunStatus.WAITING:
        return None
    run.published_at = run.wake_at = now
    database.shelve(run)
    return redelivery_of(run, "answered", now)


def _repeated(known: SignalRecord, new: NewSignal) -> SignalReceipt:
    if known.data != new.data:
        raise conflict(
            "the key is in use for another signal",
            place=f"signal {new.name!r} of run {new.run_id} with the key {new.key!r}",
            found="other data", wanted="the data that was sent with this key before",
        )  # fmt: skip
    return SignalReceipt(signal=known, repeated=True, redelivery=None)


def _check_goes_forward(run: RunRow) -> None:
    if run.status in FINAL:
        found = f"status {run.status}"
    elif run.direction is Direction.BACKWARD:
        found = f"status {run.status}, undoing what it did"
    else:
        return
    raise conflict(
        "the run waits for nothing any more", place=f"run {run.id}", found=found,
        wanted="a run that goes forward",
    )  # fmt: skip


def _check_undecided(wait: WaitRow, run: RunRow, now: datetime) -> None:
    wanted = "an open approval"
    if wait.asks is not Asks.APPROVAL:
        found, wanted = f"a wait for {said_of(wait.asks, wait.signal)}", "an approval"
    elif wait.closed_at is not None:
        by = "" if wait.closed_by is None else f" by {wait.closed_by} (via {wait.via})"
        found = f"{wait.outcome}{by} at {wait.closed_at}"
    elif wait.expires_at is not None and wait.expires_at <= now:
        found = f"its time is over since {wait.expires_at}"
    elif run.cancel_wish is not None:
        found, wanted = "its run is to be cancelled", "a run that goes on"
    elif run.status in FINAL or run.direction is Direction.BACKWARD:
        found = f"its run is {run.status}"
    else:
        return
    raise conflict(
        "the approval cannot be decided", place=f"approval {wait.id}", found=found, wanted=wanted
    )


# --- look -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Page:
    open_only: bool
    tenant: str | None
    after: str | None

    def has(self, wait: WaitRecord) -> bool:
        """Whether it is wanted."""
        return (
            wait.asks is Asks.APPROVAL
            and (wait.is_open or not self.open_only)
            and self.tenant in (None, wait.tenant)
            and (self.after is None or wait.id > self.after)
        )


def approvals(
    database: MemoryDatabase,
    *,
    open_only: bool,
    tenant: str | None,
    after: str | None,
    limit: int,
) -> list[WaitRecord]:
    """A page, oldest first."""
    page = _Page(open_only, tenant, after)
    found = (wait_of(database, database.waits[each]) for each in sorted(database.waits))
    return [wait for wait in found if page.has(wait)][:limit]


def wait(database: MemoryDatabase, wait_id: str) -> WaitRecord:
    """Raises NotFound."""
    return wait_of(database, row_like(database.waits, wait_id, "approval"))


def waits_of(database: MemoryDatabase, run_id: str) -> list[WaitRecord]:
    """All of one run, oldest first."""
    run = database.runs.get(run_id)
    found = [] if run is None else [wait_of(database, each) for each in run.waits]
    return sorted(found, key=lambda each: each.id)


def signals_of(database: MemoryDatabase, run_id: str) -> list[SignalRecord]:
    """All of one run, in order of arrival."""
    run = database.runs.get(run_id)
    return [] if run is None else [signal_of(each) for each in run.signals]


def wait_of(database: MemoryDatabase, row: WaitRow) -> WaitRecord:
    """A wait, with what it shows of its run and its answer."""
    run = database.runs[row.run_id]
    signal = next((each for each in run.signals if each.wait_id == row.id), None)
    answer, by, via = row.answer, row.closed_by, row.via
    if signal is not None:
        answer, by, via = signal.data, signal.sent_by, signal.via
    return WaitRecord(
        id=row.id, run_id=row.run_id, workflow=run.workflow, tenant=run.tenant, step=row.step,
        attempt=row.attempt, step_id=row.step_id, asks=row.asks, signal=row.signal,
        asked=load(row.asked), opened_at=row.opened_at, expires_at=row.expires_at,
        remind_at=row.remind_at, reminders=row.reminders, closed_at=row.closed_at,
        outcome=row.outcome, answer=load_optional(answer), closed_by=by, via=via,
    )  # fmt: skip


def signal_of(row: SignalRow) -> SignalRecord:
    """A signal's record."""
    return SignalRecord(
        run_id=row.run_id, number=row.number, name=row.name, key=row.key, data=load(row.data),
        sent_at=row.sent_at, sent_by=row.sent_by, via=row.via, wait_id=row.wait_id,
    )  # fmt: skip
