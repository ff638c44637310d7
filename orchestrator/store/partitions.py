"""PostgreSQL's partitions of what is only ever appended to: attempts and audit, a week in each.

They are cut by run id. An id is a UUIDv7, so it begins with the time at which its run was accepted,
and ids sort by it. All records of a run are then in one partition, which its id names, whenever
they were written: who reads a run looks into one, the primary key stays what it was (a repeated
batch meets its own rows), and a partition is no longer needed when no run of its week is kept.

    audit_before     all ids of times before the migration's week ended
    audit_20261123   ids of the week that begins on that Monday, 00:00 UTC
    audit_default    everything else, so that no insert ever fails

Weeks are made ahead by every worker. A week that was missed (nobody was up for long) is made late:
its rows move out of the default partition first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import text

from orchestrator.store.codec import instant
from orchestrator.store.part import Part
from orchestrator.store.transactions import Tx

TABLES = ("audit", "attempts")
WEEK = timedelta(days=7)
WEEKS_AHEAD = 4
MOST_MOVED = 1000
"""Kept runs whose records move out of a dropped partition; the table is locked meanwhile."""
APPEND_ONLY = "autovacuum_freeze_min_age = 0"
"""Storage parameter: the first vacuum of a page is its last, since its rows never change."""

_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALONE = text("SELECT pg_try_advisory_xact_lock(4832990120451112004)")
# Whoever waits for a table keeps those behind it waiting, so it gives up soon and comes again.
_SOON = text("SET LOCAL lock_timeout = '1s'")
_CLOCK = text("SELECT clock_timestamp()")
_LIST = text(
    "SELECT part.relname, pg_get_expr(part.relpartbound, part.oid) FROM pg_inherits AS link"
    " JOIN pg_class AS part ON part.oid = link.inhrelid"
    " WHERE link.inhparent = to_regclass(:name) ORDER BY part.relname"
)
_BOUNDS = re.compile(r"FOR VALUES FROM \((MINVALUE|'(?P<low>.*)')\) TO \('(?P<high>.*)'\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """One week (or more) of one table; `low` <= run id < `high`, and "" is below all ids."""

    table: str
    name: str
    low: str
    high: str


def first_id(at: datetime) -> str:
    """What all ids made at `at` or later are not below, and all earlier ones are."""
    digits = f"{(at - _EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def monday_of(at: datetime) -> datetime:
    """The beginning of the week of `at`."""
    return at - (at - _MONDAY) % WEEK


class Partitions(Part):
    """Makes, lists and drops them; on SQLite there are none."""

    async def make(self) -> list[str]:
        """Make those of this week and the next ones, where missing; their names.

        Does nothing while another process is at it. Raises Unavailable when a lock is not to be
        had within a second: the next call tries again.
        """
        if self._dialect.is_sqlite:
            return []
        made: list[str] = []
        for table in TABLES:
            found = await self.of(table)
            covered = max((each.high for each in found), default="")
            now = instant((await self._db.row(_CLOCK))[0])
            for monday in _weeks(now, covered):
                made += await self._db.write(partial(_make, table=table, monday=monday))
        return made

    async def of(self, table: str) -> list[Partition]:
        """All but the default one, oldest first."""
        found = []
        for name, bounds in await self._db.rows(_LIST, name=table):
            match = _BOUNDS.fullmatch(bounds or "")  # None: somebody is just dropping it
            if match is not None:
                low, high = match["low"] or "", match["high"]
                found.append(Partition(table=table, name=name, low=low, high=high))
        return sorted(found, key=lambda each: each.low)

    async def drop_unless_needed(self, partition: Partition) -> bool:
        """Drop it; False if more than MOST_MOVED runs of its time are kept.

        What belongs to a few runs (escalated ones, for months) moves to the default partition.
        Raises Unavailable when the table is too busy to be locked within a second.
        """
        return await self._db.write(lambda tx: _drop_unless_needed(tx, partition))


def _weeks(now: datetime, covered: str) -> Iterator[datetime]:
    this = monday_of(now)
    for monday in (this + WEEK * n for n in range(WEEKS_AHEAD + 1)):
        if first_id(monday) >= covered:
            yield monday


async def _make(tx: Tx, *, table: str, monday: datetime) -> Sequence[str]:
    if not (await tx.row(_ALONE))[0]:
        return ()
    await tx.change(_SOON)
    name = f"{table}_{monday:%Y%m%d}"
    if name in {row[0] for row in await tx.rows(_LIST, name=table)}:
        return ()
    low, high = first_id(monday), first_id(monday + WEEK)
    # Made beside the table and then attached: that does not keep anybody from writing.
    await tx.change(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH ({APPEND_ONLY})"))
    await _take_from_default(tx, table, name, low, high)
    await tx.change(
        text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")
    )
    return (name,)


async def _take_from_default(tx: Tx, table: str, name: str, low: str, high: str) -> None:
    within = f"run_id >= '{low}' AND run_id < '{high}'"
    if await tx.row(text(f"SELECT 1 FROM {table}_default WHERE {within} LIMIT 1")) is None:
        return
    await tx.change(text(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE"))
    await tx.change(
        text(
            f"WITH moved AS (DELETE FROM {table}_default WHERE {within} RETURNING *)"
            f" INSERT INTO {name} SELECT * FROM moved"
        )
    )


async def _drop_unless_needed(tx: Tx, partition: Partition) -> bool:
    table, name = partition.table, partition.name
    await tx.change(_SOON)
    # The whole table first, as everybody does who writes; then nothing is under way any more, and
    # a run that somebody accepts with an old id (a clock that is behind) is seen, or comes later.
    await tx.change(text(f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"))
    within = "SELECT id FROM runs WHERE id >= :low AND id < :high"
    bounds = {"low": partition.low, "high": partition.high}
    most = text(f"{within} ORDER BY id LIMIT {MOST_MOVED + 1}")
    if len(await tx.rows(most, **bounds)) > MOST_MOVED:
        return False
    await tx.change(text(f"ALTER TABLE {table} DETACH PARTITION {name}"))
    kept = f"INSERT INTO {table} SELECT part.* FROM {name} AS part WHERE run_id IN ({within})"
    await tx.change(text(kept), **bounds)
    await tx.change(text(f"DROP TABLE {name}"))
    return True
