"""Answers that runs wait for: the owner's side of it, and the sides of those who answer.

Everybody locks the run's row first. Whoever comes second finds the wait closed, and is told by
whom: an answer, the end of its time and the run's own turning back are settled by that row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as changed
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import (
    Asks,
    Awaited,
    Awaiting,
    Decision,
    NewSignal,
    NewWait,
    Redelivery,
    RunWrite,
    SignalReceipt,
    SignalRecord,
    Signals,
    WaitOutcome,
    WaitRecord,
)
from orchestrator.ports.children import NewChild
from orchestrator.ports.waiting import said_of
from orchestrator.store import codec, rows, writes
from orchestrator.store.children import Children
from orchestrator.store.dialect import Bulk, Dialect
from orchestrator.store.finding import Finder
from orchestrator.store.holding import Holding
from orchestrator.store.journal import GUARD, Journal
from orchestrator.store.maps import Maps
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import ASKING
from orchestrator.store.transactions import Tx

MOST_SIGNALS = 10_000
"""So many one run keeps: a sender that has lost its way must not fill the database."""

_NOTHING = Signals()  # which only the answer to a write tells

_WAIT_COLUMNS = {
    "id": "text", "run_id": "text", "step": "int", "attempt": "int", "step_id": "text",
    "asks": "text", "signal": "text", "asked": "text", "expires_at": "time",
    "remind_seconds": "real",
}  # fmt: skip
_KEY = {"run_id": "text", "step": "int", "attempt": "int"}
_SAME = "waits.run_id = b.run_id AND waits.step = b.step AND waits.attempt = b.attempt"
_THIS_OPEN = f"{_SAME} AND waits.closed_at IS NULL"
_FROM = (
    "FROM waits AS w JOIN runs ON runs.id = w.run_id"
    " LEFT JOIN signals AS s ON s.run_id = w.run_id AND s.wait_id = w.id"
)


class Waiting(Part):
    """Implements ports.WaitStore."""

    def __init__(self, shared: Shared, journal: Journal, children: Children, maps: Maps) -> None:
        super().__init__(shared)
        self._journal, self._notes, self._holding = journal, Notes(shared), Holding(shared)
        self._children, self._maps = children, maps
        dialect = self._dialect
        read = f"SELECT {rows.WAIT} {_FROM}"
        self._read = read
        self._find = Finder(
            dialect, what="approval", select=read, table="waits", column="w.id",
            unfinished=[ASKING],
        )  # fmt: skip
        guard = dialect.batch({name: writes.RUN_COLUMNS[name] for name in writes.GUARD})
        self._hold = self._sql(
            f"SELECT runs.id FROM runs JOIN {guard} AS b ON {GUARD} ORDER BY runs.id"
            " {for_update_of_runs}"
        )
        self._open = _opening(dialect)
        self._settle = _settling(dialect)
        self._remind = dialect.bulk(
            _KEY,
            "UPDATE waits SET reminders = reminders + 1, remind_at = "
            + dialect.later("{now}", "remind_seconds"),
            where=f"{_THIS_OPEN} AND waits.remind_at <= {{now}}",
        )  # fmt: skip
        keys = dialect.batch(_KEY)
        self._these = self._sql(
            f"{read} JOIN {keys} AS b ON w.run_id = b.run_id AND w.step = b.step"
            " AND w.attempt = b.attempt"
        )
        self._look_at = self._sql(
            f"SELECT {rows.WAIT}, {{clock}} {_FROM} JOIN {keys} AS b ON w.run_id = b.run_id"
            " AND w.step = b.step AND w.attempt = b.attempt"
        )
        self._run = self._sql(
            "SELECT status, direction, owner, cancel_wish FROM runs WHERE id = :run_id {for_update}"
        )
        self._wake = self._sql(rows.waking(dialect))
        self._of_run = self._sql(f"{read} WHERE w.run_id = :run_id ORDER BY w.id")
        self._exact = self._sql(f"{read} WHERE w.id = :id")
        self._signals = self._sql(
            f"SELECT {rows.SIGNAL} FROM signals WHERE run_id = :run_id ORDER BY number"
        )
        self._known = self._sql(
            f"SELECT {rows.SIGNAL} FROM signals"
            " WHERE run_id = :run_id AND name = :name AND key = :key"
        )
        self._add = self._sql(
            "INSERT INTO signals (run_id, number, name, key, data, sent_at, sent_by, via)"
            " SELECT :run_id, COALESCE(max(number), 0) + 1, :name, :key, :data, {now}, :by, :via"
            " FROM signals WHERE run_id = :run_id"
            f" RETURNING {rows.SIGNAL}"
        )
        self._waits_for = self._sql(
            "SELECT step, attempt FROM waits WHERE run_id = :run_id AND signal = :name"
            " AND closed_at IS NULL"
        )
        self._decide = self._sql(
            "UPDATE waits SET closed_at = {now}, outcome = :outcome, answer = :answer,"
            " closed_by = :by, via = :via WHERE id = :id"
        )
        self._is_late = self._sql("SELECT expires_at <= {now}, {now} FROM waits WHERE id = :id")

    # --- the owner's side -------------------------------------------------------------------------

    async def await_answers(self, given: Sequence[Awaiting]) -> list[Awaited | None]:
        """Open the waits, see whether they are answered, and let their runs sleep. See the port."""
        asked = [(each, each.write) for each in given if each.write is not None]
        found: dict[str, Awaited] = {}
        if len(asked) < len(given):
            found = await self._look([each.wait for each in given if each.write is None])
        if asked:
            found |= await self._db.write(lambda tx: self._await_in(tx, asked))
        return [found.get(each.wait.id) for each in given]

    async def _look(self, waits: Sequence[NewWait]) -> dict[str, Awaited]:
        """By the ids under which they are asked for, whatever those of the rows are."""
        keys = [(wait.run_id, wait.step, wait.attempt) for wait in waits]
        rows_of = await self._db.rows(self._look_at, batch=codec.dump_batch(keys))
        found = {(row[1], row[4], row[5]): _as_of_now(row) for row in rows_of}
        return {
            wait.id: Awaited(wait=found[key], signals=_NOTHING)
            for wait, key in zip(waits, keys, strict=True) if key in found
        }  # fmt: skip

    async def _await_in(
        self, tx: Tx, given: Sequence[tuple[Awaiting, RunWrite]]
    ) -> dict[str, Awaited]:
        """By the ids under which they are asked for; without those that are refused."""
        guards = [
            writes.run_row(write, self._dialect, "")[: len(writes.GUARD)] for _, write in given
        ]
        held = {row[0] for row in await tx.rows(self._hold, batch=codec.dump_batch(guards))}
        ours = [(each, write) for each, write in given if each.wait.run_id in held]
        if not ours:
            return {}
        waits = await self._opened(tx, [each.wait for each, _ in ours])
        for each, _ in ours:
            if waits[each.wait.run_id].id != each.wait.id:
                continue
            if each.children:
                await self._begin(tx, each, waits)
            if each.map is not None:
                await self._maps.begin_in(tx, each.map, waits[each.wait.run_id])
                waits[each.wait.run_id] = rows.wait_of(await tx.row(self._exact, id=each.wait.id))
        written = [_sleeping(write, waits[each.wait.run_id]) for each, write in ours]
        answers = await self._journal.record_in(tx, written)
        return {
            each.wait.id: Awaited(wait=waits[each.wait.run_id], signals=signals)
            for (each, _), signals in zip(ours, answers, strict=True) if signals is not None
        }  # fmt: skip

    async def _begin(self, tx: Tx, given: Awaiting, waits: dict[str, WaitRecord]) -> None:
        """The children of a wait that was opened with them."""
        wait = waits[given.wait.run_id]
        await self._children.begin_in(tx, given.children, wait)
        if not any(child.answers for child in given.children):
            await tx.change(
                self._decide, id=wait.id, outcome=str(WaitOutcome.ANSWERED), by=None, via=None,
                answer=codec.dump_payload(detached_answer(given.children)),
            )  # fmt: skip
            waits[wait.run_id] = rows.wait_of(await tx.row(self._exact, id=wait.id))

    async def _opened(self, tx: Tx, waits: Sequence[NewWait]) -> dict[str, WaitRecord]:
        """The waits by run as they stand now. A reminder that is due is audited."""
        await tx.apply(self._open, [_wait_row(wait, self._dialect.time) for wait in waits])
        keys = [(wait.run_id, wait.step, wait.attempt) for wait in waits]
        asleep = all(wait.asks is Asks.SLEEP for wait in waits)  # for them time alone counts
        for settle in self._settle[-1:] if asleep else self._settle:
            await tx.apply(settle, keys)
        before = await self._these_waits(tx, keys)
        if asleep or not await tx.apply(self._remind, keys):
            return before
        after = await self._these_waits(tx, keys)
        for run_id, wait in sorted(after.items()):
            if wait.reminders != before[run_id].reminders:
                data = {"wait": wait.id, "step": wait.step_id, "times": wait.reminders}
                await self._notes.note(tx, run_id, "approval.reminded", by="engine", data=data)
        return after

    async def _these_waits(self, tx: Tx, keys: Sequence[Sequence[Any]]) -> dict[str, WaitRecord]:
        found = await tx.rows(self._these, batch=codec.dump_batch(keys))
        return {wait.run_id: wait for wait in map(rows.wait_of, found)}

    # --- those who answer -------------------------------------------------------------------------

    async def send_signal(self, new: NewSignal) -> SignalReceipt:
        """Keep a signal, or let it answer the run's wait. See the port."""

        async def work(tx: Tx) -> SignalReceipt:
            run = await self._locked(tx, new.run_id)
            known = await tx.row(self._known, run_id=new.run_id, name=new.name, key=new.key)
            if known is not None:
                return _repeated(rows.signal_of(known), new)
            _check_goes_forward(new.run_id, run)
            signal = rows.signal_of(await self._added(tx, new))
            signal, redelivery = await self._delivered(tx, signal)
            await self._notes.note(
                tx, new.run_id, "signal.received", by=new.by,
                data={
                    "name": new.name, "key": new.key, "number": signal.number, "via": new.via,
                    "answers": signal.wait_id,
                },
            )  # fmt: skip
            return SignalReceipt(signal=signal, repeated=False, redelivery=redelivery)

        return await self._db.write(work)

    async def _added(self, tx: Tx, new: NewSignal) -> Any:
        row = await tx.row(
            self._add, run_id=new.run_id, name=new.name, key=codec.storable(new.key),
            data=codec.dump_payload(new.data), by=codec.storable(new.by), via=new.via,
        )  # fmt: skip
        if row[1] > MOST_SIGNALS:
            problem = Problem(
                place=f"run {new.run_id}", found=f"{MOST_SIGNALS} signals that were sent to it",
                wanted=f"at most {MOST_SIGNALS}",
            )  # fmt: skip
            raise Conflict("the run takes no more signals", problems=[problem])
        return row

    async def _delivered(
        self, tx: Tx, signal: SignalRecord
    ) -> tuple[SignalRecord, Redelivery | None]:
        """The signal as it stands, once the wait that is open for its name was settled."""
        wait = await tx.row(self._waits_for, run_id=signal.run_id, name=signal.name)
        if wait is None:
            return signal, None
        # In the owner's order: what was kept before this one answers first, and time runs out last.
        for settle in self._settle:
            await tx.apply(settle, [(signal.run_id, *wait)])
        row = await tx.row(self._known, run_id=signal.run_id, name=signal.name, key=signal.key)
        return rows.signal_of(row), await self._woken(tx, signal.run_id)

    async def decide(
        self,
        wait_id: str,
        decision: Decision,
        *,
        by: str,
        via: str,
        reason: str,
        data: Mapping[str, Any],
    ) -> tuple[WaitRecord, Redelivery | None]:
        """Answer an approval. See the port."""
        return await self._db.write(
            lambda tx: self.decide_in(
                tx, wait_id, decision, by=by, via=via, reason=reason, data=data
            )
        )

    async def decide_in(
        self,
        tx: Tx,
        wait_id: str,
        decision: Decision,
        *,
        by: str,
        via: str,
        reason: str,
        data: Mapping[str, Any],
        confirmed_by: str | None = None,
    ) -> tuple[WaitRecord, Redelivery | None]:
        """The same within a transaction; a second person's word goes to the run as well."""
        before = rows.wait_of(await self._find.find(tx, wait_id))
        run = await self._locked(tx, before.run_id)
        before = rows.wait_of(await tx.row(self._exact, id=before.id))
        late, now = await tx.row(self._is_late, id=before.id)
        _check_undecided(before, run, late=bool(late))
        if before.holds_the_run and decision is Decision.APPROVED:
            await self._holding.check_may_begin(tx, before.run_id)
        second = {} if confirmed_by is None else {"confirmed_by": confirmed_by}
        answer = {
            "decision": decision, "by": by, "via": via, "reason": reason, "data": data,
            "at": codec.instant(now).isoformat(), **second,
        }  # fmt: skip
        await tx.change(
            self._decide, id=before.id, outcome=str(decision), answer=codec.dump_payload(answer),
            by=codec.storable(by), via=via,
        )  # fmt: skip
        await self._notes.note(
            tx, before.run_id, "approval.decided", by=by,
            data={
                "wait": before.id, "step": before.step_id, "decision": decision,
                "reason": reason, "via": via, **second,
            },
        )  # fmt: skip
        if before.holds_the_run:
            refused = f"not approved by {by}: {reason}" if decision is Decision.REJECTED else None
            redelivery = await self._holding.let_go(tx, before.run_id, by=by, refused=refused)
        else:
            redelivery = await self._woken(tx, before.run_id)
        return rows.wait_of(await tx.row(self._exact, id=before.id)), redelivery

    async def _locked(self, tx: Tx, run_id: str) -> Any:
        row = await tx.row(self._run, run_id=run_id)
        if row is None:
            raise not_found("run", run_id, "the whole id of a run")
        return row

    async def _woken(self, tx: Tx, run_id: str) -> Redelivery | None:
        """What to publish; None where an owner sees the answer, or the run is paused.

        What is paused need not wait any more when the pause is over.
        """
        row = await tx.row(self._wake, run_id=run_id)
        if row is None or row[rows.REDELIVERY_WIDTH] == RunStatus.PAUSED:
            return None
        return rows.redelivery_of(row, "answered")

    # --- look -------------------------------------------------------------------------------------

    async def signals_of(self, run_id: str) -> list[SignalRecord]:
        """All of one run, in order of arrival."""
        return [rows.signal_of(row) for row in await self._db.rows(self._signals, run_id=run_id)]

    async def wait(self, wait_id: str) -> WaitRecord:
        """One. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return rows.wait_of(await self._db.read(lambda tx: self._find.find(tx, wait_id)))

    async def waits_of(self, run_id: str) -> list[WaitRecord]:
        """All of one run, oldest first."""
        return [rows.wait_of(row) for row in await self._db.rows(self._of_run, run_id=run_id)]

    async def approvals(
        self,
        *,
        open_only: bool = True,
        tenant: str | None = None,
        after: str | None = None,
        limit: int = 200,
    ) -> list[WaitRecord]:
        """Oldest first; those of one tenant, and those after one of them (an id)."""
        given = {"tenant": tenant, "after": after}
        parameters = {name: value for name, value in given.items() if value is not None}
        conditions = [
            "w.asks = 'approval'",
            *(["w.closed_at IS NULL"] if open_only else []),
            *(["runs.tenant = :tenant"] if tenant is not None else []),
            *(["w.id > :after"] if after is not None else []),
        ]
        page = self._sql(f"{self._read} WHERE {' AND '.join(conditions)} ORDER BY w.id LIMIT :most")
        return [rows.wait_of(row) for row in await self._db.rows(page, **parameters, most=limit)]


def detached_answer(children: Sequence[NewChild]) -> dict[str, Any]:
    """Of runs that go on by themselves: which they are."""
    return {"runs": [{"run": child.run.id} for child in children]}


def _opening(dialect: Dialect) -> Bulk:
    names = ", ".join(_WAIT_COLUMNS)
    values = ", ".join(f"b.{name}" for name in _WAIT_COLUMNS)
    remind = dialect.later("{now}", "b.remind_seconds")
    return dialect.bulk(
        _WAIT_COLUMNS,
        f"INSERT INTO waits ({names}, opened_at, remind_at) SELECT {values}, {{now}}, {remind}",
        tail="ON CONFLICT DO NOTHING",
    )


def _settling(dialect: Dialect) -> tuple[Bulk, ...]:
    """For waits that are open: the oldest kept signal of its name is the answer; time runs out."""
    wanted = f"(SELECT waits.signal FROM waits WHERE {_THIS_OPEN})"
    take = dialect.bulk(
        _KEY, f"UPDATE signals SET wait_id = (SELECT waits.id FROM waits WHERE {_SAME})",
        where="signals.run_id = b.run_id AND signals.number = (SELECT min(kept.number)"
        " FROM signals AS kept WHERE kept.run_id = b.run_id AND kept.wait_id IS NULL"
        f" AND kept.name = {wanted} AND NOT EXISTS (SELECT 1 FROM waits WHERE {_SAME}"
        " AND waits.expires_at <= {now} AND waits.expires_at <= kept.sent_at))",
    )  # fmt: skip
    close = dialect.bulk(
        _KEY, "UPDATE waits SET closed_at = {now}, outcome = 'answered'",
        where=f"{_THIS_OPEN} AND EXISTS (SELECT 1 FROM signals AS s"
        " WHERE s.run_id = waits.run_id AND s.wait_id = waits.id)",
    )  # fmt: skip
    expire = dialect.bulk(
        _KEY, "UPDATE waits SET closed_at = {now}, outcome = 'expired'",
        where=f"{_THIS_OPEN} AND waits.expires_at <= {{now}}",
    )  # fmt: skip
    return take, close, expire


def _wait_row(wait: NewWait, time: Callable[[datetime | None], Any]) -> tuple[Any, ...]:
    """In order of _WAIT_COLUMNS."""
    return (
        wait.id, wait.run_id, wait.step, wait.attempt, wait.step_id, wait.asks, wait.signal,
        codec.dump_payload(wait.asked), time(wait.expires_at), wait.remind_seconds,
    )  # fmt: skip


def _as_of_now(row: Sequence[Any]) -> WaitRecord:
    """From the columns WAIT and the database's time: a sleep that is over is closed."""
    *columns, clock = row
    wait, now = rows.wait_of(columns), codec.instant(clock)
    over = wait.is_open and wait.expires_at is not None and wait.expires_at <= now
    if wait.asks is Asks.SLEEP and over:
        return replace(wait, closed_at=now, outcome=WaitOutcome.EXPIRED)
    return wait


def _sleeping(write: RunWrite, wait: WaitRecord) -> RunWrite:
    """The write as it is to be applied: no release where the wait is over, and no oversleeping.

    Whoever has the answer in hand may die with it, so its run is due.
    """
    if not wait.is_open:
        due = changed(write.saga, wake_at=wait.closed_at)
        return replace(write, saga=due, release=False)
    times = [at for at in (write.saga.wake_at, wait.expires_at, wait.remind_at) if at is not None]
    return replace(write, saga=changed(write.saga, wake_at=min(times)))


def _repeated(known: SignalRecord, new: NewSignal) -> SignalReceipt:
    if known.data != new.data:
        problem = Problem(
            place=f"signal {new.name!r} of run {new.run_id} with the key {new.key!r}",
            found="other data", wanted="the data that was sent with this key before",
        )  # fmt: skip
        raise Conflict("the key is in use for another signal", problems=[problem])
    return SignalReceipt(signal=known, repeated=True, redelivery=None)


def _check_goes_forward(run_id: str, run: Any) -> None:
    status, direction, *_ = run
    if status in FINAL or direction == Direction.BACKWARD:
        found = f"status {status}" + ("" if status in FINAL else ", undoing what it did")
        problem = Problem(place=f"run {run_id}", found=found, wanted="a run that goes forward")
        raise Conflict("the run waits for nothing any more", problems=[problem])


def _check_undecided(wait: WaitRecord, run: Any, *, late: bool) -> None:
    status, direction, _, cancel_wish = run
    wanted = "an open approval"
    if wait.asks != "approval":
        found, wanted = f"a wait for {said_of(wait.asks, wait.signal)}", "an approval"
    elif not wait.is_open:
        by = "" if wait.closed_by is None else f" by {wait.closed_by} (via {wait.via})"
        found = f"{wait.outcome}{by} at {wait.closed_at}"
    elif late:
        found = f"its time is over since {wait.expires_at}"
    elif cancel_wish is not None:
        found, wanted = "its run is to be cancelled", "a run that goes on"
    elif status in FINAL or direction == Direction.BACKWARD:
        found = f"its run is {RunStatus(status)}"
    else:
        return
    problem = Problem(place=f"approval {wait.id}", found=found, wanted=wanted)
    raise Conflict("the approval cannot be decided", problems=[problem])
