"""Give up what is old: runs that are final, and what was recorded of them.

A final run has no owner and nobody writes it any more, so its row can be deleted beside everything
that goes on; rows that somebody else is deleting are skipped. What is not final, or has an open
escalation, is never looked at. A run goes with its links in one transaction of bounded size. Its
attempts and audit go with it on SQLite; on PostgreSQL they stay, without their run, until the
partition of their week can be dropped, which costs nothing however much is in it.

A job that has ended is never written again either. Its things go first, a bounded number in each
transaction, and the job with the last of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from sqlalchemy import TextClause, text

from orchestrator.core.states import FINAL
from orchestrator.errors import Unavailable
from orchestrator.ports.retention import Retired
from orchestrator.store import codec
from orchestrator.store.codec import instant
from orchestrator.store.part import Part, Shared
from orchestrator.store.partitions import MOST_MOVED, TABLES, Partition, Partitions, first_id
from orchestrator.store.tables import AT_REST, UNENDED
from orchestrator.store.transactions import Tx

MOST_ROWS = 5000
"""Rows without a run that one transaction deletes from a partition."""
MOST_JOBS = 50
"""That one transaction looks at, however few things they have."""
Finder: TypeAlias = Callable[[Tx, int, bool], Awaitable[list[tuple[str]]]]
"""Ids of so many runs at most, oldest first; only such as are in no archive."""
_FINAL = sorted(FINAL)
_FINALS = ", ".join(f"'{status}'" for status in _FINAL)


class Retention(Part):
    """Implements ports.retention.RetentionStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._partitions = Partitions(shared)
        self._clock = self._sql("SELECT {clock}")
        seconds = "-CAST(:seconds AS {real})"
        old = (
            "runs.settled_at <= "
            + self._dialect.later("{now}", seconds)
            + " AND NOT EXISTS (SELECT 1 FROM escalations AS e"
            " WHERE e.run_id = runs.id AND e.closed_at IS NULL)"
            # What a child did is undone, if its parent turns back, with the help of its records.
            " AND (runs.parent_id IS NULL OR NOT EXISTS (SELECT 1 FROM runs AS p"
            f" WHERE p.id = runs.parent_id AND p.{UNENDED}))"
            # A map goes with its run, after all of its items: in transactions of bounded size.
            " AND NOT EXISTS (SELECT 1 FROM maps AS m JOIN map_items AS x ON x.map_id = m.id"
            " WHERE m.run_id = runs.id)"
        )
        found = f"FROM runs WHERE {AT_REST} AND standing = :status AND id < :before AND {old}"
        nowhere = "AND NOT EXISTS (SELECT 1 FROM archived_runs AS a WHERE a.run_id = runs.id)"
        self._expired = {
            unarchived: self._sql(
                f"SELECT id {found} {nowhere if unarchived else ''} ORDER BY id LIMIT :most"
                " {skip_locked}"
            )
            for unarchived in (False, True)
        }
        self._count = self._sql(f"SELECT count(*) {found}")
        # What was said of a run since it was archived is in no file: its batch is written anew,
        # without what was erased, so that none of it goes.
        changed = "(a.seq <> runs.audit_seq OR a.head <> COALESCE(runs.audit_head, {no_bytes}))"
        batch = "FROM archived_runs AS a JOIN runs ON runs.id = a.run_id WHERE a.batch = :batch"
        self._archived = self._sql(
            f"SELECT runs.id {batch} AND NOT {changed}"
            f" AND NOT EXISTS (SELECT 1 {batch} AND {changed})"
            f" AND {AT_REST} AND standing IN ({_FINALS}) AND {old} ORDER BY runs.id LIMIT :most"
            " {for_update_of_runs}"
        )
        self._kept = self._sql(
            "SELECT count(*) FROM (SELECT 1 FROM runs WHERE id >= :low AND id < :high"
            f" AND NOT COALESCE(standing IN ({_FINALS}) AND {old}, false) LIMIT :most) AS kept"
        )
        self._delete = {
            name: self._sql(f"DELETE FROM {table} WHERE {key} IN (SELECT b.id FROM {ids} AS b)")
            for ids in [self._dialect.batch({"id": "text"})]
            for name, table, key in [
                ("attributes", "run_attributes", "run_id"), ("steps", "run_steps", "run_id"),
                ("attempts", "attempts", "run_id"), ("uses", "agent_uses", "run_id"),
                ("audit", "audit", "run_id"), ("escalations", "escalations", "run_id"),
                ("archived", "archived_runs", "run_id"),
                ("runs", "runs", "id"),  # last: the escalations are tied to it
            ]
        }  # fmt: skip
        self._delete_map_items = self._sql(
            "DELETE FROM map_items WHERE EXISTS (SELECT 1 FROM runs WHERE runs.id IN"
            f" (SELECT b.id FROM {self._dialect.batch({'id': 'text'})} AS b)"
            " AND runs.map_id = map_items.map_id AND runs.item = map_items.item)"
        )

        self._prove = self._sql(
            "INSERT INTO audit_deletions (run_id, seq, head, at)"
            " SELECT runs.id, audit_seq, COALESCE(audit_head, {no_bytes}), {now} FROM runs"
            f" WHERE id IN (SELECT b.id FROM {self._dialect.batch({'id': 'text'})} AS b)"
        )

        over = f"id < :before AND ended_at <= {self._dialect.later('{now}', seconds)}"
        self._old_jobs = self._sql(
            f"SELECT id FROM jobs WHERE {over} ORDER BY id LIMIT :most {{skip_locked}}"
        )
        self._count_jobs = self._sql(f"SELECT count(*) FROM jobs WHERE {over}")
        self._delete_items = self._sql(
            "DELETE FROM job_items WHERE job_id = :job_id AND item IN (SELECT item FROM job_items"
            " WHERE job_id = :job_id ORDER BY item LIMIT :most)"
        )
        self._delete_job = self._sql("DELETE FROM jobs WHERE id = :job_id")

    async def make_partitions(self) -> list[str]:
        """Partitions for the weeks to come, where missing; their names. Repeatable."""
        return await self._partitions.make()

    async def retire_runs(
        self, *, older_than_seconds: float, limit: int = 200, batch: str | None = None
    ) -> Retired:
        """Delete the oldest final runs that settled at least so long ago, in one transaction."""
        find = await self.finder(older_than_seconds)

        async def work(tx: Tx) -> Retired:
            if batch is None:
                ids = await find(tx, limit, False)
            else:
                found = await tx.rows(
                    self._archived, batch=batch, seconds=older_than_seconds, most=limit
                )
                ids = [(row[0],) for row in found]
            return await self._delete_runs(tx, codec.dump_batch(ids)) if ids else Retired()

        return await self._db.write(work)

    async def finder(self, older_than_seconds: float) -> Finder:
        """Who finds the ids of the oldest runs that may go, within a transaction."""
        before = await self._first_id_to_keep(older_than_seconds)

        async def find(tx: Tx, most: int, unarchived: bool) -> list[tuple[str]]:
            ids: list[tuple[str]] = []
            for status in _FINAL:
                found = await tx.rows(
                    self._expired[unarchived], status=str(status), before=before,
                    seconds=older_than_seconds, most=most - len(ids),
                )  # fmt: skip
                ids += [(row[0],) for row in found]
            return ids

        return find

    async def retire_jobs(self, *, older_than_seconds: float, limit: int = MOST_ROWS) -> Retired:
        """Delete things of the oldest jobs that ended so long ago, and jobs that have none left."""
        before = await self._first_id_to_keep(older_than_seconds)

        async def work(tx: Tx) -> Retired:
            done, left = Retired(), limit
            for (job_id,) in await tx.rows(
                self._old_jobs, before=before, seconds=older_than_seconds, most=MOST_JOBS
            ):
                items = await tx.change(self._delete_items, job_id=job_id, most=left)
                left -= items
                done += Retired(job_items=items)
                if not left:  # there may be more of this one
                    break
                done += Retired(jobs=await tx.change(self._delete_job, job_id=job_id))
            return done

        return await self._db.write(work)

    async def retire_partitions(self, *, older_than_seconds: float) -> Retired:
        """Drop partitions that no kept run needs; delete rows without a run from the others."""
        done = Retired()
        async for partition in self._past(older_than_seconds):
            done += await self._give_up(partition)
        for table in () if self._dialect.is_sqlite else TABLES:
            done += await self._delete_orphans(table, f"{table}_default")
        return done

    async def count_expired(self, *, older_than_seconds: float) -> Retired:
        """What these would do now, as far as runs, jobs and partitions go; changes nothing."""
        before, seconds = await self._first_id_to_keep(older_than_seconds), older_than_seconds
        runs = 0
        for status in _FINAL:
            parameters = {"status": str(status), "before": before, "seconds": seconds}
            runs += (await self._db.row(self._count, **parameters))[0]
        jobs = (await self._db.row(self._count_jobs, before=before, seconds=seconds))[0]
        names = []
        async for partition in self._past(older_than_seconds):
            kept = await self._db.row(
                self._kept, low=partition.low, high=partition.high, seconds=seconds,
                most=MOST_MOVED + 1,
            )  # fmt: skip
            if kept[0] <= MOST_MOVED:
                names.append(partition.name)
        return Retired(runs=runs, jobs=jobs, partitions=tuple(names))

    async def _first_id_to_keep(self, older_than_seconds: float) -> str:
        """Whatever has settled so long ago was accepted before that, so its id is smaller."""
        now = instant((await self._db.row(self._clock))[0])
        return first_id(now - timedelta(seconds=older_than_seconds))

    async def _past(self, older_than_seconds: float) -> AsyncIterator[Partition]:
        """Partitions in which only ids of runs are that may have expired; oldest first."""
        if self._dialect.is_sqlite:
            return
        before = await self._first_id_to_keep(older_than_seconds)
        for table in TABLES:
            for partition in await self._partitions.of(table):
                if partition.high <= before:
                    yield partition

    async def _give_up(self, partition: Partition) -> Retired:
        try:
            if await self._partitions.drop_unless_needed(partition):
                return Retired(partitions=(partition.name,))
            return await self._delete_orphans(partition.table, partition.name)
        except Unavailable:
            # Busy, or dropped by somebody else; whatever else is wrong shows with what comes next.
            return Retired()

    async def _delete_runs(self, tx: Tx, batch: str) -> Retired:
        whole = self._dialect.is_sqlite
        await tx.change(self._prove, batch=batch)
        await tx.change(self._delete_map_items, batch=batch)
        counts = {
            name: await tx.change(statement, batch=batch)
            for name, statement in self._delete.items()
            if whole or name not in TABLES
        }
        return Retired(
            runs=counts["runs"], steps=counts["steps"], escalations=counts["escalations"],
            attempts=counts.get("attempts", 0), audit=counts.get("audit", 0),
        )  # fmt: skip

    async def _delete_orphans(self, table: str, name: str) -> Retired:
        """Rows of deleted runs. What stays are rows of runs that are kept, so that the next look
        at the same partition is as short as these are few."""
        statement, deleted = _orphans(name), 0
        while True:
            found = await self._db.write(lambda tx: tx.change(statement, most=MOST_ROWS))
            deleted += found
            if found < MOST_ROWS:
                attempts, audit = (deleted, 0) if table == "attempts" else (0, deleted)
                return Retired(attempts=attempts, audit=audit)


def _orphans(name: str) -> TextClause:
    return text(
        f"DELETE FROM {name} WHERE ctid = ANY (ARRAY(SELECT part.ctid FROM {name} AS part"
        " WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = part.run_id) LIMIT :most))"
    )
