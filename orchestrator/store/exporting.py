"""Reads the audit in the order in which checkpoints came to cover it: each record once, for ever.

A checkpoint's anchor says up to which record it covers a run; the anchor before says from where on.
So what is new since a checkpoint is known exactly, whatever clocks and long transactions did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.core import chain
from orchestrator.ports.auditing import Covered
from orchestrator.store.part import Part, Shared
from orchestrator.store.rows import audit_of


class Exporting(Part):
    """The exporting part of ports.auditing.AuditStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._last_number = self._sql("SELECT COALESCE(max(number), 0) FROM audit_checkpoints")
        self._covered = self._sql(_covered())
        self._covered_of_tenant = self._sql(
            _covered(
                " AND EXISTS (SELECT 1 FROM runs WHERE runs.id = a.run_id"
                " AND runs.tenant = :tenant)"
            )
        )

    async def last_checkpoint(self) -> int:
        """See AuditStore."""
        return int((await self._db.row(self._last_number))[0])

    async def covered(
        self, number: int, *, after: str, most: int, tenant: str | None = None
    ) -> tuple[Sequence[Covered], str | None]:
        """See AuditStore."""
        where: dict[str, Any] = {"number": number, "after": after, "most": most}
        if tenant is None:
            rows = await self._db.rows(self._covered, **where)
        else:
            rows = await self._db.rows(self._covered_of_tenant, **where, tenant=tenant)
        found = [
            record
            for row in rows if row[1] is not None  # None: the run's records are gone with it
            for record in _records(number, row)
        ]  # fmt: skip
        full = len({row[0] for row in rows}) == most
        return found, rows[-1][0] if full else None


def _covered(which: str = "") -> str:
    """Records of the anchors of a checkpoint; `which`: of those whose `a.run_id` fits."""
    anchors = (
        "SELECT a.run_id, a.seq, COALESCE((SELECT max(b.seq) FROM audit_anchors AS b"
        " WHERE b.run_id = a.run_id AND b.checkpoint < a.checkpoint), 0) AS before"
        f" FROM audit_anchors AS a WHERE a.checkpoint = :number AND a.run_id > :after{which}"
        " ORDER BY a.run_id LIMIT :most"
    )
    return (
        "SELECT c.run_id, r.seq, r.at, r.kind, r.actor, r.data, r.chain, runs.tenant,"
        f" runs.workflow FROM ({anchors}) AS c LEFT JOIN audit AS r"
        " ON r.run_id = c.run_id AND r.seq > c.before AND r.seq <= c.seq"
        " LEFT JOIN runs ON runs.id = c.run_id ORDER BY c.run_id, r.seq"
    )


def _records(number: int, row: Sequence[Any]) -> Iterator[Covered]:
    """Of one row; the last of them keeps the link."""
    run_id, *told, link, tenant, workflow = row
    for record in audit_of(told):
        inside = None if link is None else chain.INSIDE
        yield Covered(
            checkpoint=number, run_id=run_id, seq=record.seq, at=record.at, kind=record.kind,
            actor=record.actor, data=record.data, tenant=tenant, workflow=workflow,
            chain=bytes(link) if link is not None and record.seq == row[1] else inside,
        )  # fmt: skip
