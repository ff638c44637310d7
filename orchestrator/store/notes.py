"""Audit records by others than a run's owner, and what they say of pauses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.saga import Hold, Wait
from orchestrator.ports import Pause
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class Notes(Part):
    """Audit records by others than a run's owner.

    The owner counts its records without knowing of these; `audit_shift` moves its numbers on.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._number = self._sql(
            "UPDATE runs SET audit_seq = audit_seq + 1,"
            " audit_shift = audit_shift + CASE WHEN owner IS NULL THEN 0 ELSE 1 END"
            " WHERE id = :run_id RETURNING audit_seq"
        )
        self._insert = self._sql(
            "INSERT INTO audit (run_id, seq, at, kind, actor, data)"
            " VALUES (:run_id, :seq, {now}, :kind, :actor, :data)"
        )

    async def note(
        self, tx: Tx, run_id: str, kind: str, *, by: str, data: Mapping[str, Any]
    ) -> None:
        """Append one; the run's row is locked until the transaction ends."""
        row = await tx.row(self._number, run_id=run_id)
        await tx.change(
            self._insert, run_id=run_id, seq=row[0], kind=kind, actor=codec.storable(by),
            data=codec.dump(data),
        )  # fmt: skip


def paused_data(why: Pause, now: datetime) -> dict[str, Any]:
    """Of a run that is stopped; with the event, so that it can be replayed."""
    events = [journal.entry(e.PauseRequested(), now, Hold())]
    return {"pause": why.id, "scope": why.scope, "reason": why.reason, "events": events}


def resumed_data(wake_at: datetime | None, now: datetime) -> dict[str, Any]:
    """Of a run that goes on; with `wake_at` later than `now`, that goes on waiting until then."""
    until = None if wake_at is None or wake_at <= now else wake_at
    command = None if until is None else Wait(until=until)
    return {"events": [journal.entry(e.Unpaused(until=until), now, command)]}
