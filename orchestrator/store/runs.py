"""Look at runs."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.states import RunStatus
from orchestrator.ports import AttemptRecord, AuditRecord, RunFilter, RunRecord, StepRecord
from orchestrator.store import rows
from orchestrator.store.codec import instant
from orchestrator.store.finding import Finder
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx


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
        conditions, parameters = _conditions(which)
        page = self._sql(
            f"SELECT {rows.RUN} FROM runs WHERE {' AND '.join(['true', *conditions])}"
            " ORDER BY runs.id DESC LIMIT :most"
        )
        found = await self._db.rows(page, **parameters, most=max(which.limit, 0))
        return [rows.run_of(row) for row in found]

    async def count_by_status(self) -> dict[RunStatus, int]:
        """Number of runs in each status that occurs."""
        return {RunStatus(row[0]): row[1] for row in await self._db.rows(self._counts)}


def _conditions(which: RunFilter) -> tuple[list[str], dict[str, str]]:
    """Conditions for what the filter names, and their parameters."""
    wanted = {"workflow": which.workflow, "tenant": which.tenant}
    parameters = {name: value for name, value in wanted.items() if value is not None}
    conditions = [f"runs.{name} = :{name}" for name in parameters]
    if which.before is not None:
        conditions.append("runs.id < :before")
        parameters["before"] = which.before
    if which.status is not None:
        named = {f"status{n}": str(status) for n, status in enumerate(sorted(which.status))}
        listed = ", ".join(f":{name}" for name in named)
        conditions.append(f"runs.status IN ({listed})" if named else "false")
        parameters |= named
    return conditions, parameters
