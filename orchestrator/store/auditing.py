"""The audit as an auditor reads it, and the checkpoints over the chains of all runs.

A checkpoint covers the heads of runs accepted since the one before, and of those that were not
final then and have been written to since. Each of its rows is an anchor; the newest anchor of a run
of which more may be told is `open`, so a checkpoint reads what has changed and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import text

from orchestrator.core.chain import Anchor, ChainedRecord, Story, heads_digest
from orchestrator.core.states import FINAL
from orchestrator.ports.auditing import Checkpoint, Stories
from orchestrator.ports.vouching import Signer
from orchestrator.store.codec import instant, micros
from orchestrator.store.part import Part, Shared
from orchestrator.store.partitions import first_id
from orchestrator.store.transactions import Tx

MOST_HEADS = 50_000
"""New runs of one checkpoint; the next one goes on where it ended."""
SETTLING = timedelta(seconds=10)
"""Ids so young may still belong to a transaction that is not visible yet."""
LOOK_BACK = timedelta(minutes=2)
"""Ids are made by whoever submits: so far its clock may be behind, or its transaction long."""

ROLLING = timedelta(days=1)
"""So long after the migration workers of the release before may write, which know of no chains."""

_CHECKPOINT = "number, at, upto, heads, deletions, content, previous, digest, key_id, signature"
"""In order of the fields of Checkpoint."""
_ALONE = text("SELECT pg_try_advisory_xact_lock(4832990120451112015)")
_LAST_ID = "~"  # above all ids


class Auditing(Part):
    """Implements ports.auditing.AuditStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        between = "{column} > :after AND {column} <= :upto"
        within = between.format(column="run_id")
        self._next_ids = [
            self._sql(
                f"SELECT {column} FROM {table} WHERE {column} > :after ORDER BY 1 LIMIT :most"
            )
            for table, column in (
                ("runs", "id"), ("audit_anchors", "run_id"), ("audit_deletions", "run_id")
            )
        ]  # fmt: skip
        self._rows = self._sql(
            f"SELECT id, audit_seq, audit_head FROM runs WHERE {between.format(column='id')}"
        )
        self._records = self._sql(
            "SELECT run_id, seq, at, kind, actor, data, chain FROM audit"
            f" WHERE {within} ORDER BY run_id, seq"
        )
        self._anchors = self._sql(
            "SELECT run_id, checkpoint, seq, head FROM audit_anchors"
            f" WHERE {within} ORDER BY run_id, checkpoint"
        )
        self._deletions = self._sql(
            f"SELECT run_id, checkpoint, seq, head FROM audit_deletions WHERE {within}"
        )
        self._older = self._sql("SELECT at FROM audit_checkpoints WHERE number = 0")
        self._all = self._sql(f"SELECT {_CHECKPOINT} FROM audit_checkpoints ORDER BY number")
        self._last = self._sql(
            f"SELECT {_CHECKPOINT} FROM audit_checkpoints ORDER BY number DESC LIMIT 1"
        )
        self._heads_of = self._sql(
            "SELECT run_id, seq, head FROM audit_anchors WHERE checkpoint = :number ORDER BY run_id"
        )
        self._deletions_of = self._sql(
            "SELECT run_id, seq, head, at FROM audit_deletions WHERE checkpoint = :number"
            " ORDER BY run_id"
        )
        self._prepare_making()

    def _prepare_making(self) -> None:
        final = ", ".join(f"'{status}'" for status in sorted(FINAL))
        anchor = "INSERT INTO audit_anchors (run_id, checkpoint, seq, head, open)"
        self._clock = self._sql("SELECT {now}")
        self._anchor_new = self._sql(
            f"{anchor} SELECT id, :number, audit_seq, audit_head, standing NOT IN ({final})"
            " FROM runs WHERE id > :low AND id < :high AND audit_head IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM audit_anchors AS known WHERE known.run_id = runs.id)"
            " ORDER BY id LIMIT :most"
        )
        self._furthest = self._sql(
            "SELECT max(run_id) FROM audit_anchors WHERE checkpoint = :number"
        )
        self._anchor_changed = self._sql(
            f"{anchor} SELECT id, :number, audit_seq, audit_head, standing NOT IN ({final})"
            " FROM audit_anchors AS known JOIN runs ON runs.id = known.run_id"
            " WHERE known.open AND known.checkpoint < :number AND runs.audit_head <> known.head"
        )
        self._close_old = self._sql(
            "UPDATE audit_anchors SET open = false WHERE open AND checkpoint < :number AND ("
            "EXISTS (SELECT 1 FROM audit_anchors AS newer WHERE newer.run_id = audit_anchors.run_id"
            " AND newer.checkpoint = :number)"
            " OR NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = audit_anchors.run_id)"
            # One that has become final without a word since: nothing more is expected of it.
            f" OR EXISTS (SELECT 1 FROM runs WHERE runs.id = audit_anchors.run_id"
            f" AND runs.standing IN ({final})))"
        )
        self._take_deletions = self._sql(
            "UPDATE audit_deletions SET checkpoint = :number WHERE checkpoint IS NULL"
        )
        names = _CHECKPOINT.split(", ")
        self._insert = self._sql(
            f"INSERT INTO audit_checkpoints ({_CHECKPOINT})"
            f" VALUES ({', '.join(':' + name for name in names)})"
        )

    # --- read -------------------------------------------------------------------------------------

    async def stories(self, *, after: str, most: int) -> Stories:
        """See AuditStore."""
        return await self._db.read(lambda tx: self._stories(tx, after, most))

    async def story(self, run_id: str) -> Story:
        """See AuditStore."""

        async def work(tx: Tx) -> Story:
            found = await self._between(tx, run_id[:-1], run_id)
            same = [story for story in found if story.run_id == run_id]
            return same[0] if same else Story(run_id=run_id, records=(), claimed=None)

        return await self._db.read(work)

    async def _stories(self, tx: Tx, after: str, most: int) -> Stories:
        ends = []
        for statement in self._next_ids:
            ids = await tx.rows(statement, after=after, most=most)
            if len(ids) == most:
                ends.append(str(ids[-1][0]))
        upto = min(ends, default=_LAST_ID)
        found = await self._between(tx, after, upto)
        return Stories(stories=found, after=upto if ends else None)

    async def _between(self, tx: Tx, after: str, upto: str) -> list[Story]:
        where = {"after": after, "upto": upto}
        claimed = {row[0]: (row[1], row[2]) for row in await tx.rows(self._rows, **where)}
        records: defaultdict[str, list[ChainedRecord]] = defaultdict(list)
        for row in await tx.rows(self._records, **where):
            records[row[0]].append(_record(row))
        anchors: defaultdict[str, list[Anchor]] = defaultdict(list)
        for row in await tx.rows(self._anchors, **where):
            anchors[row[0]].append(_anchor(row))
        deleted = {row[0]: _anchor(row) for row in await tx.rows(self._deletions, **where)}
        begun = await tx.row(self._older)
        older_until = 0 if begun is None else micros(instant(begun[0]) + ROLLING)
        return [
            Story(
                run_id=run_id, records=records.get(run_id, ()), claimed=claimed.get(run_id),
                anchors=anchors.get(run_id, ()), deleted=deleted.get(run_id),
                older_until=older_until,
            )
            for run_id in sorted({*claimed, *records, *anchors, *deleted})
        ]  # fmt: skip

    async def checkpoints(self) -> list[Checkpoint]:
        """See AuditStore."""
        return [_checkpoint(row) for row in await self._db.rows(self._all)]

    async def checkpoint_content(self, number: int) -> str:
        """See AuditStore."""
        return await self._db.read(lambda tx: self._content(tx, number))

    async def _content(self, tx: Tx, number: int) -> str:
        heads = await tx.rows(self._heads_of, number=number)
        deletions = await tx.rows(self._deletions_of, number=number)
        return heads_digest(
            ((row[0], row[1], bytes(row[2])) for row in heads),
            ((row[0], row[1], bytes(row[2]), micros(instant(row[3]))) for row in deletions),
        )

    # --- make -------------------------------------------------------------------------------------

    async def make_checkpoint(
        self, signer: Signer | None, *, at_least_seconds: float, everything: bool
    ) -> Checkpoint | None:
        """See AuditStore."""
        return await self._db.write(
            lambda tx: self._make(tx, signer, timedelta(seconds=at_least_seconds), everything)
        )

    async def _make(
        self, tx: Tx, signer: Signer | None, age: timedelta, everything: bool
    ) -> Checkpoint | None:
        if not self._dialect.is_sqlite and not (await tx.row(_ALONE))[0]:
            return None
        now = instant((await tx.row(self._clock))[0])
        row = await tx.row(self._last)
        last = None if row is None else _checkpoint(row)
        if last is not None and last.number and micros(now) - last.at < micros_of(age):
            return None
        number = 1 if last is None else last.number + 1
        upto = await self._anchor(tx, number, last, first_id(now - SETTLING), everything)
        deletions = await tx.change(self._take_deletions, number=number)
        made = Checkpoint(
            number=number, at=micros(now), upto=upto, deletions=deletions,
            heads=len(await tx.rows(self._heads_of, number=number)),
            content=await self._content(tx, number),
            previous="" if last is None else last.digest, digest="",
        )  # fmt: skip
        return await self._keep(tx, made, signer)

    async def _anchor(
        self, tx: Tx, number: int, last: Checkpoint | None, high: str, everything: bool
    ) -> str:
        """Anchor what is new and what has changed; up to which id it is covered now."""
        low = "" if everything or last is None else _some_time_before(last.upto)
        new = await tx.change(self._anchor_new, number=number, low=low, high=high, most=MOST_HEADS)
        upto = high if new < MOST_HEADS else (await tx.row(self._furthest, number=number))[0]
        if last is not None:
            upto = max(upto, last.upto)
        await tx.change(self._anchor_changed, number=number)
        await tx.change(self._close_old, number=number)
        return str(upto)

    async def _keep(self, tx: Tx, made: Checkpoint, signer: Signer | None) -> Checkpoint:
        said = made.text()
        made = Checkpoint(
            **{
                **{name: getattr(made, name) for name in _CHECKPOINT.split(", ")},
                "digest": sha256(said).hexdigest(),
                "key_id": signer and signer.key_id, "signature": signer and signer.sign(said),
            }
        )  # fmt: skip
        values = {name: getattr(made, name) for name in _CHECKPOINT.split(", ")}
        values["at"] = self._dialect.time(instant(made.at))
        await tx.change(self._insert, **values)
        return made


def micros_of(span: timedelta) -> int:
    """Whole microseconds."""
    return span // timedelta(microseconds=1)


def _some_time_before(run_id: str) -> str:
    """The first id of LOOK_BACK before the time that an id begins with."""
    if not run_id:
        return ""
    digits = run_id.replace("-", "")[:12]
    return first_id(instant(int(digits, 16) * 1000) - LOOK_BACK)


def _record(row: Sequence[Any]) -> ChainedRecord:
    chain = row[6]
    return ChainedRecord(
        seq=row[1], at=micros(instant(row[2])), kind=row[3], actor=row[4], data=row[5],
        chain=None if chain is None else bytes(chain),
    )  # fmt: skip


def _anchor(row: Sequence[Any]) -> Anchor:
    return Anchor(checkpoint=row[1] or 0, seq=row[2], head=bytes(row[3]))


def _checkpoint(row: Sequence[Any]) -> Checkpoint:
    return Checkpoint(
        number=row[0], at=micros(instant(row[1])), upto=row[2], heads=row[3], deletions=row[4],
        content=row[5], previous=row[6], digest=row[7], key_id=row[8],
        signature=None if row[9] is None else bytes(row[9]),
    )  # fmt: skip
