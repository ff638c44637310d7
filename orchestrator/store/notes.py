"""Audit records by others than a run's owner, and what they say of pauses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core import chain, journal
from orchestrator.core import events as e
from orchestrator.core.saga import Hold, Wait
from orchestrator.core.states import FINAL
from orchestrator.ports import Pause
from orchestrator.store import codec, writes
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class Notes(Part):
    """Audit records by others than a run's owner.

    The owner counts its records without knowing of these; `audit_shift` moves its numbers on.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        dialect = self._dialect
        entry = dialect.entry_now("CAST(:said AS TEXT)")
        head = dialect.link_after("audit_head", "id", entry)
        self._number = self._sql(
            f"UPDATE runs SET audit_seq = audit_seq + 1, audit_head = {head},"
            " audit_shift = audit_shift + CASE WHEN owner IS NULL THEN 0 ELSE 1 END"
            " WHERE id = :run_id RETURNING audit_seq, audit_head, status"
        )
        self._insert = self._sql(
            "INSERT INTO audit (run_id, seq, at, kind, actor, data, chain)"
            " VALUES (:run_id, :seq, {now}, :kind, :actor, :data, :chain)"
        )
        self._reopen = self._sql(
            "UPDATE audit_anchors SET open = true WHERE run_id = :run_id AND checkpoint ="
            " (SELECT max(checkpoint) FROM audit_anchors WHERE run_id = :run_id)"
        )
        entry = dialect.entry_now("b.said")
        head = dialect.link_after("runs.audit_head", "runs.id", entry)
        self._move_heads = dialect.bulk(
            {"run_id": "text", "said": "text"},
            f"UPDATE runs SET audit_head = {head}",
            where="runs.id = b.run_id",
        )
        self._insert_many = dialect.bulk(
            {"run_id": "text", "seq": "int", "kind": "text", "actor": "text", "data": "text"},
            "INSERT INTO audit (run_id, seq, at, kind, actor, data, chain)"
            " SELECT b.run_id, b.seq, {now}, b.kind, b.actor, b.data, " + writes.HEAD,
        )

    async def note(
        self, tx: Tx, run_id: str, kind: str, *, by: str, data: Mapping[str, Any]
    ) -> None:
        """Append one; the run's row is locked until the transaction ends."""
        actor, told = codec.storable(by), codec.dump(data)
        said = chain.content(kind, actor, told).hex()
        row = await tx.row(self._number, run_id=run_id, said=said)
        await tx.change(
            self._insert, run_id=run_id, seq=row[0], kind=kind, actor=actor, data=told,
            chain=row[1],
        )  # fmt: skip
        if row[2] in FINAL:  # the next checkpoint looks at it again
            await tx.change(self._reopen, run_id=run_id)

    async def note_numbered(
        self, tx: Tx, records: Sequence[tuple[str, int, str, str, Mapping[str, Any]]]
    ) -> None:
        """Append (run, number, kind, actor, data), one a run, whose numbers the caller has taken.

        The runs' rows are locked by the caller.
        """
        told = [
            (run_id, seq, kind, codec.storable(actor), codec.dump(data))
            for run_id, seq, kind, actor, data in records
        ]
        said = [(row[0], chain.content(*row[2:]).hex()) for row in told]
        await tx.apply(self._move_heads, said)
        await tx.apply(self._insert_many, told)


def paused_data(why: Pause, now: datetime) -> dict[str, Any]:
    """Of a run that is stopped; with the event, so that it can be replayed."""
    events = [journal.entry(e.PauseRequested(), now, Hold())]
    return {"pause": why.id, "scope": why.scope, "reason": why.reason, "events": events}


def resumed_data(wake_at: datetime | None, now: datetime) -> dict[str, Any]:
    """Of a run that goes on; with `wake_at` later than `now`, that goes on waiting until then."""
    until = None if wake_at is None or wake_at <= now else wake_at
    command = None if until is None else Wait(until=until)
    return {"events": [journal.entry(e.Unpaused(until=until), now, command)]}
