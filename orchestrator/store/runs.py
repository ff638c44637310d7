"""Look at runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, literal_column, select

from orchestrator.core.states import RunStatus
from orchestrator.ports import AttemptRecord, AuditRecord, RunFilter, RunRecord, StepRecord
from orchestrator.store import rows, tables
from orchestrator.store.codec import instant
from orchestrator.store.engine import Tx
from orchestrator.store.finding import Finder
from orchestrator.store.part import Part, Shared, not_found


class Runs(Part):
    """The reading part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._now = self._sql("SELECT {clock}")
        self._find = Finder(
            self._dialect, what="run", select=f"SELECT {rows.RUN} FROM runs", column="runs.id"
        )
        self._version_of = self._sql("SELECT workflow_id FROM runs WHERE id = :run_id")
        self._links = self._sql(f"SELECT {rows.LINK} FROM run_steps WHERE run_id = :run_id")
        self._attempts = self._sql(
            f"SELECT {rows.ATTEMPT} FROM attempts WHERE run_id = :run_id ORDER BY started_at, id"
        )
        self._audit = self._sql(
            "SELECT seq, at, kind, actor, data FROM audit WHERE run_id = :run_id ORDER BY seq"
        )
        self._counts = self._sql("SELECT status, count(*) FROM runs GROUP BY status")

    async def now(self) -> datetime:
        """The database's clock."""
        return instant((await self._db.row(self._now))[0])

    async def run(self, run_id: str) -> RunRecord:
        """One run. Accepts a unique prefix or suffix of at least 6 characters. Raises NotFound."""
        return rows.run_of(await self._db.read(lambda tx: self._find.find(tx, run_id)))

    async def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """All steps of a run in order of the plan. Raises NotFound."""

        async def work(tx: Tx) -> tuple[StepRecord, ...]:
            found = await tx.row(self._version_of, run_id=run_id)
            if found is None:
                raise not_found("run", run_id, "the whole id of a run")
            plans = await self._shared.plans(tx, [found[0]])
            return rows.steps_of(plans[found[0]], await tx.rows(self._links, run_id=run_id))

        return await self._db.read(work)

    async def attempts(self, run_id: str) -> list[AttemptRecord]:
        """All attempts, oldest first."""
        return [rows.attempt_of(row) for row in await self._db.rows(self._attempts, run_id=run_id)]

    async def audit(self, run_id: str) -> list[AuditRecord]:
        """All audit records by seq."""
        return [rows.audit_of(row) for row in await self._db.rows(self._audit, run_id=run_id)]

    async def runs(self, which: RunFilter) -> list[RunRecord]:
        """A page of runs, newest first."""
        return [rows.run_of(row) for row in await self._db.rows(_page(which))]

    async def count_by_status(self) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs."""
        return {RunStatus(row[0]): row[1] for row in await self._db.rows(self._counts)}


def _page(which: RunFilter) -> Select[Any]:
    runs = tables.runs.c
    page: Select[Any] = select(literal_column(rows.RUN)).select_from(tables.runs)
    if which.status is not None:
        page = page.where(runs.status.in_(sorted(which.status)))
    if which.workflow is not None:
        page = page.where(runs.workflow == which.workflow)
    if which.tenant is not None:
        page = page.where(runs.tenant == which.tenant)
    if which.before is not None:
        page = page.where(runs.id < which.before)
    return page.order_by(runs.id.desc()).limit(max(which.limit, 0))
