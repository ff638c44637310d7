"""Schedules and their firings. See ports.ScheduleStore.

What is decided on a schedule is written by the statement that counts its `turn`: whoever read the
same turn and comes second writes nothing. Runs are begun outside of that, with a key of schedule
and time, so it does not matter how often, or by how many, that is tried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from orchestrator.core.schedules import (
    FiringKind,
    FiringState,
    Open,
    Overlap,
    Schedule,
    Turn,
)
from orchestrator.core.states import FINAL
from orchestrator.errors import Conflict, Problem
from orchestrator.ports.schedules import (
    Firing,
    Looked,
    NewScheduleChange,
    ScheduleChange,
    ScheduleChangeKind,
    ScheduleRecord,
    ToBegin,
)
from orchestrator.store import codec
from orchestrator.store.codec import instant, instant_optional, storable
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx

_SCHEDULE = (
    "id, tenant, name, version, schedule, paused, deleted, next_at, due_at, turn, changed_at,"
    " changed_by, reason"
)
_FIRING = "schedule_id, at, since, kind, state, run_id, reason, decided_at"
_NEW = {
    "schedule_id": "text", "at": "time", "since": "time", "version": "int", "kind": "text",
    "state": "text", "reason": "text", "goes_on": "bool", "decided_by": "text",
}  # fmt: skip
_MOVED = {
    "schedule_id": "text", "at": "time", "state": "text", "reason": "text", "goes_on": "bool",
}  # fmt: skip
ENGINE = "engine"
_GOES_ON = (FiringState.QUEUED, FiringState.DUE)


class Scheduling(Part):
    """Implements ports.ScheduleStore, but for `now`, and what of it is given up in time."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        held = "NOT deleted"
        listed = f"SELECT {_SCHEDULE} FROM schedules WHERE {held}"
        self._all = self._sql(f"{listed} ORDER BY tenant, name")
        self._of_tenant = self._sql(f"{listed} AND tenant = :tenant ORDER BY name")
        self._named = self._sql(f"{listed} AND tenant = :tenant AND name = :name")
        self._names = self._sql(
            f"SELECT name FROM schedules WHERE {held} AND tenant = :tenant ORDER BY name LIMIT 20"
        )
        self._add = self._sql(
            f"INSERT INTO schedules ({_SCHEDULE}) VALUES (:id, :tenant, :name, 1, :schedule,"
            " :paused, :deleted, :next_at, :due_at, 0, {now}, :by, :reason)"
            f" ON CONFLICT DO NOTHING RETURNING {_SCHEDULE}"
        )
        self._change = self._sql(
            "UPDATE schedules SET version = version + 1, schedule = :schedule, paused = :paused,"
            " deleted = :deleted, next_at = :next_at, due_at = :due_at, turn = turn + 1,"
            " changed_at = {now}, changed_by = :by, reason = :reason"
            f" WHERE id = :id AND version = :version AND turn = :turn RETURNING {_SCHEDULE}"
        )
        self._note = self._sql(
            "INSERT INTO schedule_changes"
            " (schedule_id, version, kind, at, changed_by, reason, schedule)"
            " VALUES (:id, :version, :kind, {now}, :by, :reason, :schedule)"
        )
        self._changes = self._sql(
            "SELECT version, kind, at, changed_by, reason, schedule FROM schedule_changes"
            " WHERE schedule_id = :id ORDER BY version DESC LIMIT :most"
        )
        self._firings = self._sql(
            f"SELECT {_FIRING} FROM firings WHERE schedule_id = :id ORDER BY at DESC LIMIT :most"
        )
        queued = "SELECT schedule_id FROM firings WHERE state = 'queued'"
        to_look_at = (
            f"FROM schedules WHERE {held} AND NOT paused"
            f" AND (due_at <= {{now}} OR id IN ({queued}))"
        )
        self._to_look_at = self._sql(
            f"SELECT {_SCHEDULE}, {{now}} {to_look_at} ORDER BY due_at, id LIMIT :most"
        )
        these = self._dialect.batch({"id": "text"})
        self._opens = self._sql(
            "SELECT f.schedule_id, f.at, f.kind, f.state, f.run_id, f.ending, runs.standing"
            " FROM firings AS f LEFT JOIN runs ON runs.id = f.run_id"
            f" WHERE f.goes_on AND f.schedule_id IN (SELECT b.id FROM {these} AS b)"
            " ORDER BY f.schedule_id, f.at"
        )
        self._take_turn = self._sql(
            "UPDATE schedules SET turn = turn + 1, next_at = :next_at, due_at = :due_at"
            f" WHERE id = :id AND turn = :turn AND {held} AND NOT paused RETURNING id"
        )
        self._insert = self._dialect.bulk(
            _NEW,
            "INSERT INTO firings (schedule_id, at, since, version, kind, state, reason, goes_on,"
            " decided_by, decided_at) SELECT b.schedule_id, b.at, b.since, b.version, b.kind,"
            " b.state, b.reason, b.goes_on, b.decided_by, {now}",
            tail="ON CONFLICT (schedule_id, at) DO NOTHING",
        )
        again = "firings.state IN ('skipped', 'failed')"
        self._backfill = self._dialect.bulk(
            _NEW,
            "INSERT INTO firings (schedule_id, at, since, version, kind, state, reason, goes_on,"
            " decided_by, decided_at) SELECT b.schedule_id, b.at, b.since, b.version, b.kind,"
            " b.state, b.reason, b.goes_on, b.decided_by, {now}",
            tail="ON CONFLICT (schedule_id, at) DO UPDATE SET since = NULL,"
            " version = excluded.version, kind = excluded.kind, state = excluded.state,"
            " reason = excluded.reason, goes_on = excluded.goes_on,"
            f" decided_by = excluded.decided_by, decided_at = excluded.decided_at WHERE {again}",
        )
        self._move = self._dialect.bulk(
            _MOVED,
            "UPDATE firings SET state = b.state, reason = b.reason, goes_on = b.goes_on,"
            " decided_at = {now}",
            where="firings.schedule_id = b.schedule_id AND firings.at = b.at",
        )
        self._end = self._dialect.bulk(
            {"schedule_id": "text", "at": "time"},
            "UPDATE firings SET goes_on = false",
            where="firings.schedule_id = b.schedule_id AND firings.at = b.at",
        )
        long_ago = self._dialect.later("{now}", "-CAST(:seconds AS {real})")
        due = (
            "SELECT f.schedule_id, s.tenant, s.name, f.at, c.schedule FROM firings AS f"
            " JOIN schedules AS s ON s.id = f.schedule_id JOIN schedule_changes AS c"
            " ON c.schedule_id = f.schedule_id AND c.version = f.version WHERE f.state = 'due'"
        )
        order = "ORDER BY f.decided_at, f.at LIMIT :most"
        self._due = self._sql(f"{due} AND f.decided_at <= {long_ago} {order}")
        left = self._dialect.later("{now}", "-CAST(:left_after AS {real})")
        self.looks = {
            "scheduled": f"SELECT 1 WHERE EXISTS (SELECT 1 {to_look_at}) OR EXISTS"
            f" (SELECT 1 FROM firings WHERE state = 'due' AND decided_at <= {left})"
        }
        self._due_of = self._sql(
            f"{due} AND f.decided_at <= {long_ago} AND f.schedule_id = :id {order}"
        )
        self._begun = self._sql(
            "UPDATE firings SET state = :state, run_id = :run_id, reason = :reason,"
            " goes_on = goes_on AND :goes_on"
            " WHERE schedule_id = :id AND at = :at AND state = 'due'"
        )
        self._ending = self._sql(
            "UPDATE firings SET ending = true WHERE schedule_id = :id AND at = :at"
        )
        self._forget = self._sql(
            f"DELETE FROM firings WHERE decided_at < {long_ago} AND NOT goes_on"
            " AND state <> 'due' AND (schedule_id, at) IN (SELECT schedule_id, at FROM firings"
            f" WHERE decided_at < {long_ago} ORDER BY decided_at LIMIT 10000)"
        )

    # --- schedules --------------------------------------------------------------------------------

    async def schedules(self, tenant: str | None = None) -> list[ScheduleRecord]:
        """All that were not deleted, by tenant and name."""
        if tenant is None:
            return [_record(row) for row in await self._db.rows(self._all)]
        return [_record(row) for row in await self._db.rows(self._of_tenant, tenant=tenant)]

    async def schedule(self, tenant: str, name: str) -> ScheduleRecord:
        """One that was not deleted. Raises NotFound, naming some that there are."""
        found = await self._db.rows(self._named, tenant=tenant, name=name)
        if not found:
            names = ", ".join(row[0] for row in await self._db.rows(self._names, tenant=tenant))
            raise not_found(
                "schedule", name, f"a schedule of tenant {tenant}: {names or 'it has none'}"
            )
        return _record(found[0])

    async def change_schedule(self, change: NewScheduleChange) -> ScheduleRecord:
        """Make a change and record it. Raises Conflict."""
        before = change.expected
        text = codec.dump_payload(msgspec.to_builtins(change.schedule))
        deleted = change.kind is ScheduleChangeKind.DELETE
        paused = change.kind is ScheduleChangeKind.PAUSE or (
            before is not None and before.paused and change.kind is ScheduleChangeKind.SET
        )
        values = {
            "schedule": text, "paused": paused, "deleted": deleted, "by": storable(change.by),
            "reason": storable(change.reason),
            "next_at": self._dialect.time(change.next_at),
            "due_at": self._dialect.time(change.due_at),
        }  # fmt: skip

        async def work(tx: Tx) -> ScheduleRecord:
            if before is None:
                row = await tx.row(
                    self._add, id=change.id, tenant=change.tenant, name=storable(change.name),
                    **values,
                )  # fmt: skip
            else:
                row = await tx.row(
                    self._change, id=before.id, version=before.version, turn=before.turn, **values
                )
            if row is None:
                raise _moved_on(change)
            made = _record(row)
            await tx.change(
                self._note, id=made.id, version=made.version, kind=change.kind.value,
                by=values["by"], reason=values["reason"], schedule=text,
            )  # fmt: skip
            return made

        return await self._db.write(work)

    async def schedule_changes(self, schedule_id: str, *, limit: int = 50) -> list[ScheduleChange]:
        """Newest first."""
        return [
            ScheduleChange(
                version=row[0], kind=ScheduleChangeKind(row[1]), at=instant(row[2]), by=row[3],
                reason=row[4], schedule=_schedule(row[5]),
            )
            for row in await self._db.rows(self._changes, id=schedule_id, most=limit)
        ]  # fmt: skip

    async def firings(self, schedule_id: str, *, limit: int = 50) -> list[Firing]:
        """The latest times first."""
        found = await self._db.rows(self._firings, id=schedule_id, most=limit)
        return [_firing(row) for row in found]

    # --- turns ------------------------------------------------------------------------------------

    async def schedules_to_look_at(self, *, limit: int) -> list[Looked]:
        """Those with a time that has come, or with one that waits for a run."""
        found = await self._db.rows(self._to_look_at, most=limit)
        if not found:
            return []
        records = [_record(row) for row in found]
        queue = [
            [each.id] for each in records if each.schedule.overlap is not Overlap.ALLOW
        ]  # fmt: skip
        rows = await self._db.rows(self._opens, batch=codec.dump_batch(queue)) if queue else []
        opens, ended = _sorted(rows)
        now = instant(found[0][-1])
        return [
            Looked(record=each, opens=opens[each.id], ended=ended[each.id], now=now)
            for each in records
        ]

    async def record_turn(self, looked: Looked, turn: Turn) -> bool:
        """Write what was decided, unless another was first."""
        record, time = looked.record, self._dialect.time
        may_overlap = record.schedule.overlap is Overlap.ALLOW
        new = [
            (
                record.id, time(each.at), time(each.since), record.version, FiringKind.TIME.value,
                each.state.value, each.reason, each.state in _GOES_ON and not may_overlap, ENGINE,
            )
            for each in turn.new
        ]  # fmt: skip
        moved = [
            (
                record.id, time(each.at), each.state.value, each.reason,
                each.state in _GOES_ON and not may_overlap,
            )
            for each in turn.moved
        ]  # fmt: skip
        ended = [(record.id, time(at)) for at in looked.ended]

        async def work(tx: Tx) -> bool:
            won = await tx.row(
                self._take_turn, id=record.id, turn=record.turn, next_at=time(turn.next_at),
                due_at=time(turn.due_at),
            )  # fmt: skip
            if won is None:
                return False
            await tx.apply(self._insert, new)
            await tx.apply(self._move, moved)
            await tx.apply(self._end, ended)
            return True

        return await self._db.write(work)

    async def add_firings(
        self, record: ScheduleRecord, times: Sequence[datetime], kind: FiringKind, *, by: str,
        state: FiringState,
    ) -> int:  # fmt: skip
        """Have these begin or wait, but for those that have a run, or will."""
        goes_on = record.schedule.overlap is not Overlap.ALLOW
        rows = [
            (
                record.id, self._dialect.time(at), None, record.version, kind.value, state.value,
                "", goes_on, storable(by),
            )
            for at in times
        ]  # fmt: skip
        return await self._db.write(lambda tx: tx.apply(self._backfill, rows))

    async def to_begin(
        self, *, older_than_seconds: float, schedule_id: str | None = None, limit: int
    ) -> list[ToBegin]:
        """Firings that are due since so long, the oldest first."""
        given: dict[str, Any] = {"seconds": older_than_seconds, "most": limit}
        if schedule_id is None:
            found = await self._db.rows(self._due, **given)
        else:
            found = await self._db.rows(self._due_of, id=schedule_id, **given)
        return [
            ToBegin(
                schedule_id=row[0], tenant=row[1], name=row[2], at=instant(row[3]),
                schedule=_schedule(row[4]),
            )
            for row in found
        ]  # fmt: skip

    async def note_begun(
        self, schedule_id: str, at: datetime, *, run_id: str | None, reason: str = ""
    ) -> None:
        """It has this run; None: it was refused, for this reason. The first answer stays."""
        state = FiringState.FAILED if run_id is None else FiringState.STARTED
        given = {
            "id": schedule_id, "at": self._dialect.time(at), "run_id": run_id,
            "state": state.value, "reason": storable(reason), "goes_on": run_id is not None,
        }  # fmt: skip
        await self._db.write(lambda tx: tx.change(self._begun, **given))

    async def note_ending(self, schedule_id: str, at: datetime) -> None:
        """The run of this time was asked to end."""
        given = {"id": schedule_id, "at": self._dialect.time(at)}
        await self._db.write(lambda tx: tx.change(self._ending, **given))

    async def retire_firings(self, *, older_than_seconds: float) -> int:
        """Forget what became of times long ago, see ports.RetentionStore."""
        return await self._db.write(lambda tx: tx.change(self._forget, seconds=older_than_seconds))


def _sorted(
    rows: Sequence[Any],
) -> tuple[Mapping[str, list[Open]], Mapping[str, list[datetime]]]:
    """By schedule: firings that go on, and times whose runs have ended or are not kept."""
    opens: defaultdict[str, list[Open]] = defaultdict(list)
    ended: defaultdict[str, list[datetime]] = defaultdict(list)
    for schedule_id, at, kind, state, run_id, ending, standing in rows:
        if state == FiringState.STARTED and (standing is None or standing in FINAL):
            ended[schedule_id].append(instant(at))
            continue
        opens[schedule_id].append(
            Open(
                at=instant(at),
                kind=FiringKind(kind),
                state=FiringState(state),
                run_id=run_id,
                is_ending=bool(ending),
            )
        )
    return opens, ended


def _schedule(text: str) -> Schedule:
    return msgspec.convert(codec.load(text), Schedule)


def _record(row: Sequence[Any]) -> ScheduleRecord:
    return ScheduleRecord(
        id=row[0], tenant=row[1], name=row[2], version=row[3], schedule=_schedule(row[4]),
        paused=bool(row[5]), deleted=bool(row[6]), next_at=instant_optional(row[7]),
        due_at=instant_optional(row[8]), turn=row[9], changed_at=instant(row[10]),
        changed_by=row[11], reason=row[12],
    )  # fmt: skip


def _firing(row: Sequence[Any]) -> Firing:
    return Firing(
        schedule_id=row[0], at=instant(row[1]), since=instant_optional(row[2]),
        kind=FiringKind(row[3]), state=FiringState(row[4]), run_id=row[5], reason=row[6],
        decided_at=instant(row[7]),
    )  # fmt: skip


def _moved_on(change: NewScheduleChange) -> Conflict:
    found = "one of this name" if change.expected is None else "changed at the same moment"
    wanted = "a new name" if change.expected is None else "that it is looked at again"
    problem = Problem(
        place=f"schedule {change.name} of tenant {change.tenant}", found=found, wanted=wanted
    )
    return Conflict("the schedule was not changed", problems=[problem])
