"""Events of objectives, counted by minute and hour from runs and escalations, and their alarms.

An event's time and verdict never change (see core/slo), so counts are made once and kept, longer
than the runs they are of. What happened shortly before the last count is counted again with the
next one: a transaction that began before it may have ended after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from orchestrator.core.slo import (
    DAY,
    HOUR,
    LONGEST_OF_MINUTES,
    MINUTE,
    Count,
    Objective,
    ObjectiveKind,
    window_start,
)
from orchestrator.core.states import FINAL
from orchestrator.ports.slo import AlarmRecord, NewAlarm
from orchestrator.store import rows
from orchestrator.store.codec import dump_batch, instant
from orchestrator.store.part import Part, Shared
from orchestrator.store.partitions import first_id
from orchestrator.store.transactions import Tx

AGAIN = timedelta(minutes=2)
"""So far back each count begins before the end of the one before."""
AT_ONCE = timedelta(days=1)
"""Of what happened; the first count of an objective is made in as many steps as it has days."""
CLOCKS_APART = timedelta(hours=1)
"""Ids of escalations are made by workers, their times by the database."""
PLANS_AT_ONCE = 200
MINUTES_KEPT = timedelta(days=2)
HOURS_KEPT = timedelta(days=100)

_ALONE = text("SELECT pg_try_advisory_xact_lock(4832990120451112020)")
_ENDED = ", ".join(f"'{status}'" for status in sorted(FINAL))
_SETTLED = (
    f"runs.settled_at >= :since AND runs.settled_at < :until AND runs.status IN ({_ENDED})"
    " AND runs.branch IS NULL"  # a branch is a part of a run, which is counted as one
)
_OPENED = "e.id >= :first AND e.id < :last AND e.opened_at >= :since AND e.opened_at < :until"
_EVER = "EXISTS (SELECT 1 FROM escalations AS e WHERE e.run_id = runs.id{and_})"
_EARLIER = (
    "EXISTS (SELECT 1 FROM escalations AS o WHERE o.run_id = e.run_id"
    " AND (o.opened_at, o.id) < (e.opened_at, e.id){and_})"
)


class Slos(Part):
    """Implements ports.slo.SloStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._clock = self._sql("SELECT {now}")
        self._newest = self._sql(
            "SELECT name, id FROM workflows WHERE (name, version) IN"
            " (SELECT name, max(version) FROM workflows GROUP BY name)"
        )
        self._told: dict[str, Mapping[str, Any]] = {}  # by version, which never changes
        pairs = self._dialect.batch({"workflow": "text", "objective": "text"})
        self._marks = self._sql(
            "SELECT m.workflow, m.objective, m.counted_until FROM slo_marks AS m"
            f" JOIN {pairs} AS b ON b.workflow = m.workflow AND b.objective = m.objective"
        )
        names = self._dialect.batch({"name": "text"})
        self._mark = self._sql(
            "INSERT INTO slo_marks (workflow, objective, counted_until)"
            f" SELECT b.name, :objective, :until FROM {names} AS b WHERE true"
            " ON CONFLICT (workflow, objective)"
            " DO UPDATE SET counted_until = excluded.counted_until"
        )
        of_these = f"workflow IN (SELECT b.name FROM {names} AS b) AND objective = :objective"
        self._forget = self._sql(
            f"DELETE FROM slo_counts WHERE {of_these} AND span = :span AND start >= :start"
        )
        self._prune = self._sql("DELETE FROM slo_counts WHERE span = :span AND start < :start")
        minute = f"{self._dialect.epoch_seconds('at')} / {MINUTE} * {MINUTE}"
        self._count = {
            kind: self._sql(
                "INSERT INTO slo_counts (workflow, objective, span, start, good, bad)"
                f" SELECT workflow, :objective, {MINUTE}, minute,"
                " sum(CASE WHEN good THEN 1 ELSE 0 END), sum(CASE WHEN good THEN 0 ELSE 1 END)"
                f" FROM (SELECT workflow, {minute} AS minute, good FROM ({events}) AS events)"
                f" AS timed WHERE workflow IN (SELECT b.name FROM {names} AS b)"
                " GROUP BY workflow, minute"
            )
            for kind, events in self._events().items()
        }
        hour = f"start / {HOUR} * {HOUR}"
        self._add_up = self._sql(
            "INSERT INTO slo_counts (workflow, objective, span, start, good, bad)"
            f" SELECT workflow, objective, {HOUR}, {hour}, sum(good), sum(bad) FROM slo_counts"
            f" WHERE {of_these} AND span = {MINUTE} AND start >= :start"
            f" GROUP BY workflow, objective, {hour}"
        )
        self._pairs = pairs
        lately = self._dialect.later("{now}", "-CAST(:seconds AS {real})")
        self._alarms = self._sql(
            f"SELECT {rows.ALARM} FROM slo_alarms WHERE closed_at IS NULL OR closed_at > {lately}"
            " ORDER BY opened_at DESC, id DESC LIMIT :most"
        )
        self._open = self._sql(
            f"INSERT INTO slo_alarms ({rows.ALARM}) VALUES (:id, :workflow, :kind, :urgency,"
            " :target, :long_seconds, :bad, :total, :burn_rate, {now}, {now}, NULL)"
            " ON CONFLICT DO NOTHING"
        )
        ids = self._dialect.batch({"id": "text"})
        these = f"id IN (SELECT b.id FROM {ids} AS b) AND closed_at IS NULL"
        self._touch = self._sql(f"UPDATE slo_alarms SET burning_at = {{now}} WHERE {these}")
        self._close = self._sql(
            f"UPDATE slo_alarms SET closed_at = {{now}} WHERE {these} AND burning_at <= {lately}"
        )

    def _events(self) -> dict[ObjectiveKind, str]:
        """Each kind's events between two times, as rows (workflow, at, good)."""
        back = " AND {}.direction = 'backward'"
        lasted = self._dialect.later("runs.created_at", "CAST(:threshold AS {real})")
        due = self._dialect.later("e.opened_at", "CAST(:threshold AS {real})")
        undid = (
            "EXISTS (SELECT 1 FROM run_steps AS s WHERE s.run_id = runs.id"
            " AND s.direction = 'backward' AND s.status = 'landed')"
        )
        escalated = (
            "SELECT runs.workflow, e.opened_at AS at, false AS good FROM escalations AS e"
            f" JOIN runs ON runs.id = e.run_id WHERE {_OPENED} AND NOT {_EARLIER}"
        )
        of_ids = "e.id >= :first AND e.id < :last"
        return {
            ObjectiveKind.SUCCESS: (
                "SELECT runs.workflow, runs.settled_at AS at, runs.status = 'succeeded' AS good"
                f" FROM runs WHERE {_SETTLED} AND NOT {_EVER.format(and_='')}"
                " AND (runs.status = 'succeeded' OR runs.cancel IS NULL)"
                f" UNION ALL {escalated.format(and_='')}"
            ),
            ObjectiveKind.LATENCY: (
                f"SELECT runs.workflow, runs.settled_at AS at, runs.settled_at <= {lasted} AS good"
                f" FROM runs WHERE {_SETTLED} AND runs.status = 'succeeded'"
            ),
            ObjectiveKind.COMPENSATION: (
                "SELECT runs.workflow, runs.settled_at AS at, true AS good"
                f" FROM runs WHERE {_SETTLED} AND runs.status = 'compensated' AND {undid}"
                f" AND NOT {_EVER.format(and_=back.format('e'))}"
                f" UNION ALL {escalated.format(and_=back.format('o'))}{back.format('e')}"
            ),
            ObjectiveKind.FRESHNESS: (
                "SELECT runs.workflow, e.closed_at AS at, true AS good FROM escalations AS e"
                f" JOIN runs ON runs.id = e.run_id WHERE {of_ids} AND e.closed_at >= :since"
                f" AND e.closed_at < :until AND e.closed_at <= {due}"
                f" UNION ALL SELECT runs.workflow, {due} AS at, false AS good"
                f" FROM escalations AS e JOIN runs ON runs.id = e.run_id WHERE {of_ids}"
                f" AND {due} >= :since AND {due} < :until"
                f" AND (e.closed_at IS NULL OR e.closed_at > {due})"
            ),
        }

    async def told_objectives(self) -> Mapping[str, Mapping[str, Any]]:
        """See SloStore."""

        async def work(tx: Tx) -> dict[str, Mapping[str, Any]]:
            newest: dict[str, str] = {row[0]: row[1] for row in await tx.rows(self._newest)}
            known = self._told
            told = {each: known[each] for each in newest.values() if each in known}
            missing = sorted({*newest.values()} - told.keys())
            for begin in range(0, len(missing), PLANS_AT_ONCE):
                some = await self._shared.readable(tx, missing[begin : begin + PLANS_AT_ONCE])
                told |= {version: plan.slo for version, plan in some.items()}
            self._told = told
            return {name: told[each] for name, each in newest.items() if each in told}

        return await self._db.read(work)

    # --- counting ---------------------------------------------------------------------------------

    async def count_events(
        self, objectives: Sequence[Objective], *, at_least_seconds: float
    ) -> int:
        """See SloStore."""

        async def work(tx: Tx) -> int:
            if not self._dialect.is_sqlite and not (await tx.row(_ALONE))[0]:
                return -1
            now = instant((await tx.row(self._clock))[0])
            younger = now - timedelta(seconds=at_least_seconds)
            groups: defaultdict[tuple[str, datetime], list[Objective]] = defaultdict(list)
            marks = await self._marked(tx, objectives)
            for each in objectives:
                until = marks.get((each.workflow, each.key))
                if until is None or until <= younger:
                    groups[each.key, _from(each, until, now)].append(each)
            if not groups:
                return -1
            behind = 0
            for (_, since), alike in groups.items():
                until = min(since + AT_ONCE, now)
                await self._count_these(tx, alike, since, until)
                behind += len(alike) if until < now else 0
            # Hours are added up from minutes, so of whatever is behind the old ones are needed.
            if not behind and any(since.hour != now.hour for _, since in groups):
                await self._prune_old(tx, now)
            return behind

        return await self._db.write(work)

    async def _marked(
        self, tx: Tx, objectives: Sequence[Objective]
    ) -> dict[tuple[str, str], datetime]:
        found = await tx.rows(self._marks, batch=_pairs(objectives))
        return {(row[0], row[1]): instant(row[2]) for row in found}

    async def _count_these(
        self, tx: Tx, alike: Sequence[Objective], since: datetime, until: datetime
    ) -> None:
        """Those that differ in their workflow alone."""
        one = alike[0]
        these = {
            "batch": dump_batch([[each.workflow] for each in alike]),
            "objective": one.key,
        }
        start = int(since.timestamp())
        hour = start // HOUR * HOUR
        await tx.change(self._forget, **these, span=MINUTE, start=start)
        parameters = {
            "since": self._dialect.time(since), "until": self._dialect.time(until),
            "threshold": one.seconds,
            "first": first_id(since - CLOCKS_APART - timedelta(seconds=one.seconds or 0)),
            "last": first_id(until + CLOCKS_APART),
        }  # fmt: skip
        wanted = self._count[one.kind]
        bound = {name: value for name, value in parameters.items() if f":{name}" in wanted.text}
        await tx.change(wanted, **these, **bound)
        await tx.change(self._forget, **these, span=HOUR, start=hour)
        await tx.change(self._add_up, **these, start=hour)
        await tx.change(self._mark, **these, until=self._dialect.time(until))

    async def _prune_old(self, tx: Tx, now: datetime) -> None:
        for span, kept in ((MINUTE, MINUTES_KEPT), (HOUR, HOURS_KEPT)):
            await tx.change(self._prune, span=span, start=int((now - kept).timestamp()))

    # --- looking ----------------------------------------------------------------------------------

    async def event_counts(
        self, objectives: Sequence[Objective]
    ) -> tuple[datetime, list[Mapping[int, Count]]]:
        """See SloStore."""

        async def work(tx: Tx) -> tuple[datetime, list[Mapping[int, Count]]]:
            now = instant((await tx.row(self._clock))[0])
            lengths = sorted({seconds for each in objectives for seconds in each.windows})
            counts: dict[tuple[str, str, int], Count] = {}
            for span in (MINUTE, HOUR):
                windows = [seconds for seconds in lengths if _span(seconds) == span]
                if windows:
                    counts |= await self._summed(tx, objectives, span, windows, now)
            return now, [
                {
                    seconds: counts.get((each.workflow, each.key, seconds), Count())
                    for seconds in each.windows
                }
                for each in objectives
            ]

        return await self._db.read(work)

    async def _summed(
        self,
        tx: Tx,
        objectives: Sequence[Objective],
        span: int,
        windows: Sequence[int],
        now: datetime,
    ) -> dict[tuple[str, str, int], Count]:
        """One pass over the longest of these windows, which holds the others."""
        sums = ", ".join(
            f"sum(CASE WHEN c.start >= :since_{seconds} THEN c.{what} ELSE 0 END)"
            for seconds in windows for what in ("good", "bad")
        )  # fmt: skip
        statement = self._sql(
            f"SELECT b.workflow, b.objective, {sums} FROM {self._pairs} AS b JOIN slo_counts AS c"
            " ON c.workflow = b.workflow AND c.objective = b.objective AND c.span = :span"
            f" AND c.start >= :since_{max(windows)} GROUP BY b.workflow, b.objective"
        )
        starts = {f"since_{seconds}": window_start(now, seconds) for seconds in windows}
        found = await tx.rows(statement, batch=_pairs(objectives), span=span, **starts)
        return {
            (row[0], row[1], seconds): Count(good=int(row[2 * at]), bad=int(row[2 * at + 1]))
            for row in found for at, seconds in enumerate(windows, 1)
        }  # fmt: skip

    async def alarms(
        self, *, closed_within_seconds: float, limit: int | None = None
    ) -> list[AlarmRecord]:
        """The open ones, and those that were closed lately; newest first."""
        most = 1_000_000 if limit is None else limit
        found = await self._db.rows(self._alarms, seconds=closed_within_seconds, most=most)
        return [rows.alarm_of(row) for row in found]

    # --- alarms -----------------------------------------------------------------------------------

    async def open_alarms(self, new: Sequence[NewAlarm]) -> int:
        """How many opened: an objective has one open alarm of each urgency."""

        async def work(tx: Tx) -> int:
            return sum([
                await tx.change(
                    self._open, id=each.id, workflow=each.objective.workflow,
                    kind=str(each.objective.kind), urgency=str(each.urgency),
                    target=each.objective.target, long_seconds=each.long_seconds,
                    bad=each.count.bad, total=each.count.total, burn_rate=each.burn_rate,
                )
                for each in new
            ])  # fmt: skip

        return await self._db.write(work) if new else 0

    async def touch_alarms(self, ids: Sequence[str]) -> None:
        """Their rules still hold."""
        if ids:
            batch = _ids(ids)
            await self._db.write(lambda tx: tx.change(self._touch, batch=batch))

    async def close_alarms(self, ids: Sequence[str], *, quiet_seconds: float) -> int:
        """End those whose rules were last seen to hold at least so long ago; how many."""
        if not ids:
            return 0
        batch = _ids(ids)
        return await self._db.write(
            lambda tx: tx.change(self._close, batch=batch, seconds=quiet_seconds)
        )


def _pairs(objectives: Sequence[Objective]) -> str:
    return dump_batch([[each.workflow, each.key] for each in objectives])


def _ids(ids: Sequence[str]) -> str:
    return dump_batch([[each] for each in ids])


def _span(seconds: int) -> int:
    return MINUTE if seconds <= LONGEST_OF_MINUTES else HOUR


def _from(objective: Objective, counted: datetime | None, now: datetime) -> datetime:
    """Where to go on: at a whole minute before what was counted, or at the budget's beginning.

    At a whole hour where that is long ago, since its minutes may have been given up meanwhile.
    """
    if counted is None:
        start = window_start(now, objective.window_days * DAY)
    else:
        unit = MINUTE if now - counted < timedelta(days=1) else HOUR
        start = int((counted - AGAIN).timestamp()) // unit * unit
    return datetime.fromtimestamp(start, tz=now.tzinfo)
