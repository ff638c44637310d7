"""What the newest runs of a workflow tried."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import Tried
from orchestrator.core.states import Direction
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.history import History
from orchestrator.store.codec import instant
from orchestrator.store.part import Part, Shared
from orchestrator.store.partitions import first_id
from orchestrator.store.transactions import Tx


class Histories(Part):
    """Implements the store's part of ports.history.HistoryStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._clock = self._sql("SELECT {now}")
        newest = (
            "SELECT id FROM runs WHERE workflow = :workflow AND id >= :first"
            " AND workflow_id = :workflow_id AND path IS NULL AND rerun_of IS NULL"
            " ORDER BY id DESC LIMIT :most"
        )
        self._runs = self._sql(f"SELECT count(*) FROM ({newest}) AS newest")
        self._tried = self._sql(
            "SELECT a.run_id, a.step, a.direction, a.outcome, a.reason, a.status_code,"
            f" a.started_at, a.finished_at FROM ({newest}) AS newest JOIN attempts AS a"
            " ON a.run_id = newest.id WHERE a.run_id >= :first AND a.kind = 'call'"
            " ORDER BY a.run_id, a.id"
        )

    async def history(self, version: WorkflowVersion, *, days: float, most_runs: int) -> History:
        """Of runs accepted in these days that went straight through the plan, the newest ones."""

        async def work(tx: Tx) -> History:
            since = instant((await tx.row(self._clock))[0]) - timedelta(days=days)
            these = {
                "workflow": version.workflow, "workflow_id": version.id, "most": most_runs,
                "first": first_id(since),
            }  # fmt: skip
            runs = (await tx.row(self._runs, **these))[0]
            found = await tx.rows(self._tried, **these)
            return History(since=since, runs=runs, tried=[_tried(*row) for row in found])

        return await self._db.read(work)


def _tried(
    run: str, step: int, direction: str, outcome: str, reason: str, status: int | None,
    started_at: Any, finished_at: Any,
) -> Tried:  # fmt: skip
    started, finished = instant(started_at), instant(finished_at)
    return Tried(
        run=run, step=step, direction=Direction(direction), outcome=Outcome(outcome),
        reason=reason, status=status, seconds=(finished - started).total_seconds(),
        minute=int(started.timestamp()) // 60,
    )  # fmt: skip
