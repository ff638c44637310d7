"""Who was told of which escalation. What is to be told is the escalation's own row."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ports.notices import Notice
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 3600.0
_DAY = 86_400


class Notices(Part):
    """Implements ports.notices.NoticeStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        targets = self._dialect.batch({"target": "text"})
        since = self._dialect.later("{now}", f"-{_DAY}")
        self._add = self._sql(
            "INSERT INTO notices (escalation_id, target, attempts, due_at, error)"
            " SELECT e.id, b.target, 0, {now}, '' FROM escalations AS e"
            f" CROSS JOIN {targets} AS b"
            f" WHERE e.closed_at IS NULL AND e.opened_at > {since} AND NOT EXISTS"
            " (SELECT 1 FROM notices WHERE escalation_id = e.id AND target = b.target)"
            " ON CONFLICT DO NOTHING"
        )
        self._due = self._sql(
            "SELECT notices.escalation_id, notices.target, notices.attempts FROM notices"
            f" JOIN {targets} AS b ON b.target = notices.target"
            " WHERE told_at IS NULL AND due_at <= {now} AND attempts < :most_attempts"
            " ORDER BY due_at LIMIT :most"
        )
        later = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        # The number of attempts fences: of two who take it one does.
        self._take = self._sql(
            f"UPDATE notices SET attempts = attempts + 1, due_at = {later}"
            " WHERE escalation_id = :id AND target = :target AND attempts = :attempts"
            " AND told_at IS NULL"
        )
        self._escalation = self._sql(
            f"SELECT {rows.ESCALATION} FROM escalations AS e JOIN runs ON runs.id = e.run_id"
            " WHERE e.id = :id"
        )
        self._told = self._sql(
            "UPDATE notices SET told_at = {now}, error = ''"
            " WHERE escalation_id = :id AND target = :target"
        )
        self._untold = self._sql(
            "UPDATE notices SET error = :why"
            " WHERE escalation_id = :id AND target = :target AND told_at IS NULL"
        )

    async def add_notices(self, targets: Sequence[str]) -> int:
        """One for each open escalation of the last day and target that has none; how many."""
        batch = _batch(targets)
        return await self._db.write(lambda tx: tx.change(self._add, batch=batch))

    async def take_notices(
        self, targets: Sequence[str], *, most_attempts: int, limit: int
    ) -> list[Notice]:
        """Those that are due, for these targets, each to one caller."""
        due = await self._db.rows(
            self._due, batch=_batch(targets), most_attempts=most_attempts, most=limit
        )
        taken = [await self._take_one(*row) for row in due]
        return [notice for notice in taken if notice is not None]

    async def _take_one(self, escalation_id: str, target: str, attempts: int) -> Notice | None:
        seconds = min(FIRST_RETRY_SECONDS * 2**attempts, LONGEST_RETRY_SECONDS)

        async def work(tx: Tx) -> Notice | None:
            taken = await tx.change(
                self._take, id=escalation_id, target=target, attempts=attempts, seconds=seconds
            )
            if not taken:
                return None
            record = rows.escalation_of(await tx.row(self._escalation, id=escalation_id))
            return Notice(escalation=record, target=target, attempt=attempts + 1)

        return await self._db.write(work)

    async def note_told(self, notice: Notice) -> None:
        """It need not be told again."""
        known, target = notice.escalation.id, notice.target
        await self._db.write(lambda tx: tx.change(self._told, id=known, target=target))

    async def note_untold(self, notice: Notice, why: str) -> None:
        """Keep why not; it is due again in its time."""
        known, target = notice.escalation.id, notice.target
        reason = codec.storable(why[:1000])
        await self._db.write(
            lambda tx: tx.change(self._untold, id=known, target=target, why=reason)
        )


def _batch(targets: Sequence[str]) -> str:
    return codec.dump_batch([(target,) for target in targets])
