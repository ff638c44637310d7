"""Traces that are to be told: an outbox beside the commits with which runs wait or settle.

A row comes with the commit in which a run that is to be traced settles, or begins to wait. It goes
when all spans have been taken; that of a run that waits or is escalated stays (not due) until it
waits anew or has ended.
"""

from __future__ import annotations

from orchestrator.core.states import FINAL
from orchestrator.ports.tracing import DueTrace
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 600.0
_FINAL = ", ".join(f"'{status}'" for status in sorted(FINAL))


class Traces(Part):
    """Implements ports.tracing.TraceStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        # 2 to the power of the attempts, by a shift that both databases have.
        seconds = (
            f"CAST({FIRST_RETRY_SECONDS} * (1 << (CASE WHEN attempts > 7 THEN 7 ELSE attempts END))"
            " AS {real})"
        )
        later = self._dialect.later("{now}", seconds)
        self._take = self._sql(
            f"UPDATE traces SET attempts = attempts + 1, due_at = {later} WHERE run_id IN"
            " (SELECT run_id FROM traces WHERE due_at <= {now} ORDER BY due_at LIMIT :most"
            " {skip_locked}) RETURNING run_id, told, attempts"
        )
        # A run that has settled anew since it was taken begins again with no attempt.
        same = "run_id = :run_id AND attempts = :attempts"
        self._end = self._sql(f"DELETE FROM traces WHERE {same} RETURNING run_id")
        self._rest = self._sql(
            f"UPDATE traces SET due_at = NULL, told = :told, attempts = 0, error = '' WHERE {same}"
            " RETURNING run_id"
        )
        self._fail = self._sql(f"UPDATE traces SET error = :why WHERE {same} RETURNING run_id")
        self._wake = self._sql(
            "UPDATE traces SET due_at = {now} WHERE due_at IS NULL AND EXISTS"
            " (SELECT 1 FROM runs WHERE runs.id = traces.run_id"
            f" AND runs.standing IN ({_FINAL}))"
        )

    async def take_traces(self, limit: int) -> list[DueTrace]:
        """See TraceStore."""
        taken = await self._db.write(lambda tx: tx.rows(self._take, most=limit))
        return [DueTrace(run_id=row[0], told=row[1], attempt=row[2]) for row in taken]

    async def note_traced(self, due: DueTrace, *, told: int, ended: bool) -> None:
        """See TraceStore."""
        known = {"run_id": due.run_id, "attempts": due.attempt}
        if ended:
            await self._db.write_rows(self._end, **known)
        else:
            await self._db.write_rows(self._rest, told=told, **known)

    async def note_untraced(self, due: DueTrace, why: str) -> None:
        """See TraceStore."""
        reason = codec.storable(why[:1000])
        known = {"run_id": due.run_id, "attempts": due.attempt}
        await self._db.write_rows(self._fail, why=reason, **known)

    async def forget_trace(self, due: DueTrace) -> None:
        """See TraceStore."""
        known = {"run_id": due.run_id, "attempts": due.attempt}
        await self._db.write_rows(self._end, **known)

    async def wake_traces(self) -> int:
        """See TraceStore."""
        return await self._db.write(lambda tx: tx.change(self._wake))
