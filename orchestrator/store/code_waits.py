"""Runs that wait for a worker with the code of their next step. See ports.CodeWaitStore."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from orchestrator.ports import Redelivery
from orchestrator.ports.code_waits import CodeWait
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import SLEEPING
from orchestrator.store.transactions import Tx

LEFT_SECONDS = 60.0
"""After so long a row of a run that does not sleep is of one that somebody has taken up."""


class CodeWaits(Part):
    """Implements ports.CodeWaitStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        parked = f"runs.id = code_waits.run_id AND {SLEEPING} AND runs.status = 'parked'"
        codes = self._dialect.batch({"code": "text"})
        self._add = self._sql(
            "INSERT INTO code_waits (run_id, code, since) VALUES (:run_id, :code, {now})"
            " ON CONFLICT (run_id) DO UPDATE SET code = excluded.code"
        )
        self.looks = {"coded": "SELECT 1 FROM code_waits"}
        self._take = self._sql(
            "UPDATE runs SET published_at = {now}, wake_at = {now} WHERE id IN"
            f" (SELECT runs.id FROM runs JOIN code_waits ON {parked}"
            f" WHERE code_waits.code IN (SELECT b.code FROM {codes} AS b)"
            " ORDER BY runs.id LIMIT :most {skip_locked})"
            f" RETURNING {rows.redelivery(self._dialect)}"
        )
        runs = self._dialect.batch({"id": "text"})
        self._forget = self._sql(
            f"DELETE FROM code_waits WHERE run_id IN (SELECT b.id FROM {runs} AS b)"
        )
        before = self._dialect.later("{now}", "-CAST(:seconds AS {real})")
        self._clean = self._sql(
            f"DELETE FROM code_waits WHERE since < {before}"
            f" AND NOT EXISTS (SELECT 1 FROM runs WHERE {parked})"
        )
        self._counts = self._sql(
            "SELECT code_waits.code, count(*), min(code_waits.since) FROM code_waits"
            f" JOIN runs ON {parked} GROUP BY code_waits.code ORDER BY code_waits.code"
        )
        self._wanted = self._sql(
            f"SELECT code_waits.code FROM code_waits JOIN runs ON {parked}"
            " WHERE code_waits.run_id = :run_id"
        )

    async def wait_for_code(self, run_id: str, code: str) -> None:
        """See CodeWaitStore."""
        await self._db.write(lambda tx: tx.change(self._add, run_id=run_id, code=code))

    async def take_coded(self, codes: Collection[str], *, limit: int) -> list[Redelivery]:
        """See CodeWaitStore."""
        if not codes:
            return []
        named = codec.dump_batch([(code,) for code in codes])

        async def take(tx: Tx) -> Sequence[Any]:
            taken = await tx.rows(self._take, batch=named, most=limit)
            gone = codec.dump_batch([(row[0],) for row in taken])
            await tx.change(self._forget, batch=gone)
            await tx.change(self._clean, seconds=LEFT_SECONDS)
            return taken

        return [rows.redelivery_of(row, "code") for row in await self._db.write(take)]

    async def code_waits(self) -> list[CodeWait]:
        """See CodeWaitStore."""
        return [
            CodeWait(code=row[0], runs=int(row[1]), since=codec.instant(row[2]))
            for row in await self._db.rows(self._counts)
        ]

    async def code_wanted(self, run_id: str) -> str | None:
        """See CodeWaitStore."""
        row = await self._db.row(self._wanted, run_id=run_id)
        return None if row is None else str(row[0])
