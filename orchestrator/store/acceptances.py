"""Who has accepted derived compensations."""

from __future__ import annotations

from collections.abc import Sequence

import uuid_utils

from orchestrator.ports import Acceptance, NewAcceptance
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class Acceptances(Part):
    """Implements ports.AcceptanceStore. Rows are only ever added; their ids rise with time."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._insert = self._sql(
            f"INSERT INTO acceptances ({rows.ACCEPTANCE}) VALUES"
            " (:id, :workflow, :step, :digest, :compensation, {now}, :by, :reason)"
            f" RETURNING {rows.ACCEPTANCE}"
        )
        self._of_workflow = self._sql(
            f"SELECT {rows.ACCEPTANCE} FROM acceptances WHERE workflow = :workflow"
            " ORDER BY id DESC LIMIT :most"
        )

    async def note_acceptances(self, new: Sequence[NewAcceptance]) -> list[Acceptance]:
        """Record them in one transaction, at the database's time."""

        async def work(tx: Tx) -> list[Acceptance]:
            noted = []
            for each in new:
                row = await tx.row(
                    self._insert, id=str(uuid_utils.uuid7()), workflow=each.workflow,
                    step=each.step, digest=each.digest,
                    compensation=codec.dump(each.compensation), by=codec.storable(each.by),
                    reason=codec.storable(each.reason),
                )  # fmt: skip
                assert row is not None, "an INSERT without a conflict returns its row"
                noted.append(rows.acceptance_of(row))
            return noted

        return await self._db.write(work)

    async def acceptances(self, workflow: str, *, limit: int = 50) -> list[Acceptance]:
        """Those of one workflow, newest first."""
        found = await self._db.rows(self._of_workflow, workflow=workflow, most=limit)
        return [rows.acceptance_of(row) for row in found]
