"""Counts for metrics; each goes through partial indexes of what is not final."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.ports.counting import EscalationCount, RunCount
from orchestrator.store.codec import dump_batch
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ANNOUNCED, AT_REST, OPEN, OWNED, SLEEPING, UNDER_WAY

UNFINISHED = (
    ANNOUNCED,
    SLEEPING,
    f"{OWNED} AND {UNDER_WAY}",
    f"{AT_REST} AND standing = 'escalated'",
    f"{AT_REST} AND standing = 'paused'",
)
"""Where a run that is not final may stand, each with its index; no run stands in two of them."""


class Counting(Part):
    """Implements ports.counting.CountingStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        parts = " UNION ALL ".join(
            "SELECT workflow, tenant, status, count(*) AS number FROM runs"
            f" WHERE {some} GROUP BY workflow, tenant, status"
            for some in UNFINISHED
        )
        self._unfinished = self._sql(
            f"SELECT workflow, tenant, status, sum(number) FROM ({parts}) AS counted"
            " GROUP BY workflow, tenant, status"
        )
        self._successes = self._sql(
            "SELECT tenant, workflow, count(*) FROM (SELECT tenant, workflow FROM runs"
            f" WHERE {AT_REST} AND standing = 'succeeded' ORDER BY id DESC LIMIT :most) AS newest"
            " GROUP BY tenant, workflow"
        )
        ages = self._dialect.batch({"seconds": "real"}, "ages")
        dues = self._dialect.batch({"reason": "text", "seconds": "real"}, "dues")
        reached = self._dialect.later("e.opened_at", "b.seconds")
        due = self._dialect.later("e.opened_at", "COALESCE(e.due_seconds, d.seconds)")
        age = f"(SELECT COALESCE(max(b.seconds), 0) FROM {ages} AS b WHERE {reached} <= {{now}})"
        self._escalations = self._sql(
            f"SELECT reason, age, overdue, count(*) FROM (SELECT e.reason, {age} AS age,"
            f" COALESCE({due} < {{now}}, false) AS overdue FROM escalations AS e"
            f" LEFT JOIN {dues} AS d ON d.reason = COALESCE(e.severity, e.reason)"
            f" WHERE e.{OPEN}) AS open_ones GROUP BY reason, age, overdue"
        )

    async def count_unfinished(self) -> list[RunCount]:
        """By workflow, tenant and status."""
        return [
            RunCount(
                workflow=row[0], tenant=row[1], status=RunStatus(row[2]), number=int(row[3])
            )
            for row in await self._db.rows(self._unfinished)
        ]  # fmt: skip

    async def count_recent_successes(self, most: int) -> Mapping[str, Mapping[str, int]]:
        """By tenant and workflow, among the `most` newest runs that succeeded."""
        found: dict[str, dict[str, int]] = {}
        for tenant, workflow, number in await self._db.rows(self._successes, most=most):
            found.setdefault(tenant, {})[workflow] = int(number)
        return found

    async def count_open_escalations(
        self, *, ages: tuple[float, ...], due_seconds: Mapping[str, float]
    ) -> list[EscalationCount]:
        """By reason and age."""
        found = await self._db.rows(
            self._escalations, ages=dump_batch([[age] for age in ages]),
            dues=dump_batch([[reason, seconds] for reason, seconds in due_seconds.items()]),
        )  # fmt: skip
        return [
            EscalationCount(
                reason=EscalationReason(row[0]), older_than_seconds=float(row[1]),
                overdue=bool(row[2]), number=int(row[3]),
            )
            for row in found
        ]  # fmt: skip
