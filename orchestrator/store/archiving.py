"""Ended runs on their way into an archive: which are together in a batch, and their rows.

A run is in one batch at most (`archived_runs`), with the head that its audit had when the batch was
planned. It is planned under the same conditions under which retention would delete it, and deleted
only while its head is still that one: what was said of it since is in no file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from orchestrator.ports.archiving import ArchivedTable, Batch, Head, day_of
from orchestrator.store import codec
from orchestrator.store.auditing import ROLLING
from orchestrator.store.codec import instant, micros
from orchestrator.store.erasing import ERASED_COLUMNS
from orchestrator.store.migrating import HEAD
from orchestrator.store.part import Part, Shared
from orchestrator.store.retention import Retention
from orchestrator.store.tables import metadata
from orchestrator.store.tables.columns import INSTANT
from orchestrator.store.transactions import Tx

MOST_IN_A_BATCH = 2000
MOST_BATCHES = 100
_OF_MAPS = "map_id IN (SELECT id FROM maps WHERE run_id IN ({ids}))"
_OF_RUNS = (
    "(id IN (SELECT workflow_id FROM runs WHERE id IN ({ids}))"
    # Runs that were moved name all versions that they have followed in that one column.
    " OR EXISTS (SELECT 1 FROM runs WHERE runs.id IN ({ids}) AND length(workflow_id) > 36"
    " AND workflow_id LIKE '%' || workflows.id || '%'))"
)
_KEPT = {
    "workflows": _OF_RUNS, "runs": "id IN ({ids})",
    **dict.fromkeys(
        (
            "run_attributes", "run_steps", "attempts", "audit", "escalations", "waits", "signals",
            "proposals", "agent_uses", "maps", "map_items", "audit_anchors",
        ),
        "run_id IN ({ids})",
    ),
    "map_values": _OF_MAPS,
}  # fmt: skip
"""What is archived of runs, by table."""
_ALONE = text("SELECT pg_try_advisory_xact_lock(4832990120451112046)")

_HOLD = "CAST(:seconds AS {real})"
_BATCH = "SELECT id, tenant, day, manifest FROM archive_batches"


def _kind(column: Column[Any]) -> str:
    if column.type is INSTANT or isinstance(column.type, TIMESTAMP):
        return "time"
    for kind, name in (
        (Boolean, "bool"), (Integer, "int"), (Float, "real"), (LargeBinary, "bytes")
    ):  # fmt: skip
        if isinstance(column.type, kind):
            return name
    return "text"


class Archiving(Part):
    """Implements ports.archiving.ArchivingStore, but for `retire_runs`."""

    archived_tables: Sequence[ArchivedTable] = tuple(
        ArchivedTable(
            name=name,
            columns={column.name: _kind(column) for column in metadata.tables[name].columns},
        )
        for name in _KEPT
    )  # fmt: skip
    schema = HEAD
    erased_columns = ERASED_COLUMNS

    def __init__(self, shared: Shared, retention: Retention) -> None:
        super().__init__(shared)
        self._retention = retention
        ids = f"SELECT b.id FROM {self._dialect.batch({'id': 'text'})} AS b"
        self._rows = {
            table.name: self._sql(
                f"SELECT {', '.join(table.columns)} FROM {table.name}"
                f" WHERE {_KEPT[table.name].format(ids=ids)} ORDER BY {_key_of(table.name)}"
            )
            for table in self.archived_tables
        }
        self._heads = self._sql(
            "SELECT id, tenant, audit_seq, COALESCE(audit_head, {no_bytes}) FROM runs"
            f" WHERE id IN ({ids}) ORDER BY id"
        )
        self._add_batch = self._sql(
            "INSERT INTO archive_batches (id, tenant, day, runs, planned_at)"
            " VALUES (:id, :tenant, :day, :runs, {now})"
        )
        self._add_runs = self._sql(
            "INSERT INTO archived_runs (run_id, batch, seq, head) SELECT id, :id, audit_seq,"
            f" COALESCE(audit_head, {{no_bytes}}) FROM runs WHERE id IN ({ids})"
        )
        self._take = self._sql(
            f"UPDATE archive_batches SET held_until = {self._dialect.later('{now}', _HOLD)}"
            " WHERE id = (SELECT id FROM archive_batches WHERE manifest IS NULL"
            " AND (held_until IS NULL OR held_until <= {now})"
            " ORDER BY planned_at, id LIMIT 1 {skip_locked}) RETURNING id"
        )
        self._one = self._sql(f"{_BATCH} WHERE id = :id")
        self._runs_of = self._sql(
            "SELECT run_id, seq, head FROM archived_runs WHERE batch = :id ORDER BY run_id"
        )
        self._note = self._sql(
            "UPDATE archive_batches SET manifest = :manifest, archived_at = {now},"
            " held_until = NULL WHERE id = :id"
        )
        self._release = self._sql("UPDATE archive_batches SET held_until = NULL WHERE id = :id")
        self._changed = self._sql(
            "SELECT DISTINCT a.batch FROM archived_runs AS a JOIN runs ON runs.id = a.run_id"
            " WHERE a.seq <> runs.audit_seq OR a.head <> COALESCE(runs.audit_head, {no_bytes})"
            f" LIMIT {MOST_BATCHES}"
        )
        self._forget_batch = self._sql(
            "DELETE FROM archive_batches WHERE id = :id AND (manifest IS NULL"
            " OR runs = (SELECT count(*) FROM archived_runs WHERE batch = :id))"
        )
        self._forget_runs = self._sql("DELETE FROM archived_runs WHERE batch = :id")
        written = f"{_BATCH} WHERE manifest IS NOT NULL AND id > :after"
        here = " AND EXISTS (SELECT 1 FROM archived_runs WHERE batch = archive_batches.id)"
        self._written = {
            kept: self._sql(f"{written}{here if kept else ''} ORDER BY id LIMIT :most")
            for kept in (False, True)
        }
        self._has_run = self._sql("SELECT 1 FROM runs WHERE id = :id")
        self._begun = self._sql("SELECT at FROM audit_checkpoints WHERE number = 0")

    # --- planning ---------------------------------------------------------------------------------

    async def plan_batches(self, *, older_than_seconds: float, most: int) -> int:
        """See ArchivingStore."""
        find = await self._retention.finder(older_than_seconds)

        async def work(tx: Tx) -> int:
            if not self._dialect.is_sqlite and not (await tx.row(_ALONE))[0]:
                return 0
            ids = await find(tx, most, True)
            if ids:
                await self._plan(tx, ids)
            return len(ids)

        return await self._db.write(work)

    async def _plan(self, tx: Tx, ids: Sequence[tuple[str]]) -> None:
        together: defaultdict[tuple[str, str], list[Head]] = defaultdict(list)
        for run_id, tenant, seq, head in await tx.rows(self._heads, batch=codec.dump_batch(ids)):
            found = Head(run_id=run_id, seq=seq, head=bytes(head))
            together[tenant, day_of(run_id)].append(found)
        for (tenant, day), heads in together.items():
            for first in range(0, len(heads), MOST_IN_A_BATCH):
                part = heads[first : first + MOST_IN_A_BATCH]
                batch = {"id": _name_of(tenant, day, part)}
                await tx.change(self._add_batch, **batch, tenant=tenant, day=day, runs=len(part))
                mine = codec.dump_batch([(each.run_id,) for each in part])
                await tx.change(self._add_runs, **batch, batch=mine)

    async def changed_batches(self) -> Sequence[str]:
        """See ArchivingStore."""
        return [row[0] for row in await self._db.rows(self._changed)]

    async def give_up_batch(self, batch: str) -> bool:
        """See ArchivingStore."""

        async def work(tx: Tx) -> bool:
            whole = await tx.change(self._forget_batch, id=batch) > 0
            await tx.change(self._forget_runs, id=batch)
            return whole

        return await self._db.write(work)

    # --- writing ----------------------------------------------------------------------------------

    async def take_batch(self, *, hold_seconds: float) -> Batch | None:
        """See ArchivingStore."""

        async def work(tx: Tx) -> Batch | None:
            found = await tx.row(self._take, seconds=hold_seconds)
            return None if found is None else await self._batch(tx, found[0])

        return await self._db.write(work)

    async def release_batch(self, batch: str) -> None:
        """See ArchivingStore."""
        await self._db.write(lambda tx: tx.change(self._release, id=batch))

    async def batch(self, batch: str) -> Batch | None:
        """See ArchivingStore."""
        return await self._db.read(lambda tx: self._batch(tx, batch))

    async def _batch(self, tx: Tx, batch: str) -> Batch | None:
        row = await tx.row(self._one, id=batch)
        if row is None:
            return None
        heads = [_head_of(each) for each in await tx.rows(self._runs_of, id=batch)]
        return Batch(id=row[0], tenant=row[1], day=row[2], manifest=row[3], heads=heads)

    async def rows_of(
        self, tables: Iterable[str], run_ids: Sequence[str]
    ) -> Mapping[str, Sequence[Sequence[Any]]]:
        """See ArchivingStore."""
        ids = codec.dump_batch([(run_id,) for run_id in run_ids])

        async def work(tx: Tx) -> Mapping[str, Sequence[Sequence[Any]]]:
            return {name: await tx.rows(self._rows[name], batch=ids) for name in tables}

        found = await self._db.read(work)
        return {name: _plain(self._kinds(name), rows) for name, rows in found.items()}

    def _kinds(self, name: str) -> Sequence[str]:
        return next(
            list(table.columns.values()) for table in self.archived_tables if table.name == name
        )

    @staticmethod
    def erasure_data(reason: str, records: int) -> str:
        """See ArchivingStore."""
        return codec.dump({"reason": reason, "records": records})

    async def has_run(self, run_id: str) -> bool:
        """See ArchivingStore."""
        return bool(await self._db.rows(self._has_run, id=run_id))

    async def older_until(self) -> int:
        """See ArchivingStore."""
        begun = await self._db.row(self._begun)
        return 0 if begun is None else micros(instant(begun[0]) + ROLLING)

    async def note_archived(self, batch: str, *, manifest: str) -> bool:
        """See ArchivingStore."""
        noted = await self._db.write(lambda tx: tx.change(self._note, id=batch, manifest=manifest))
        return noted > 0

    # --- looking ----------------------------------------------------------------------------------

    async def archived_batches(self, *, kept: bool, after: str = "", most: int) -> Sequence[Batch]:
        """See ArchivingStore."""

        async def work(tx: Tx) -> list[Batch]:
            rows = await tx.rows(self._written[kept], after=after, most=most)
            found = [await self._batch(tx, row[0]) for row in rows]
            return [each for each in found if each is not None]

        return await self._db.read(work)


def _name_of(tenant: str, day: str, heads: Sequence[Head]) -> str:
    told = sha256(f"{tenant}\n{day}\n".encode())
    for each in heads:
        told.update(f"{each.run_id} {each.seq} {each.head.hex()}\n".encode())
    return told.hexdigest()[:32]


def _head_of(row: Sequence[Any]) -> Head:
    return Head(run_id=row[0], seq=row[1], head=bytes(row[2]))


def _key_of(table: str) -> str:
    """Rows of a run stand together in its file."""
    columns = metadata.tables[table].columns
    key = [column.name for column in metadata.tables[table].primary_key]
    first = ["run_id"] if "run_id" in columns else []
    return ", ".join(dict.fromkeys([*first, *key]))


_TURNED: Mapping[str, Callable[[Any], Any]] = {
    "time": instant,
    "bytes": bytes,
    "bool": bool,
    "real": float,
}


def _plain(kinds: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The two databases tell times, bytes and truths in their own ways."""
    turn = [_TURNED.get(kind) for kind in kinds]
    return [
        [
            value if value is None or how is None else how(value)
            for value, how in zip(row, turn, strict=True)
        ]
        for row in rows
    ]
