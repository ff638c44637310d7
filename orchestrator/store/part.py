"""What the parts of the store share: the database, and the plans that runs pin."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import TextClause

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_from_json
from orchestrator.errors import NotFound, Problem
from orchestrator.store import codec
from orchestrator.store.dialect import Dialect
from orchestrator.store.engine import Database
from orchestrator.store.transactions import Tx

MOST_PLANS_KEPT = 1000


class Shared:
    """One database and the plans read from it; a version never changes, so they stay valid."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._plans: dict[str, Plan] = {}
        self._read_plans = database.dialect.sql(
            "SELECT id, plan FROM workflows WHERE id IN"
            f" (SELECT wanted FROM {database.dialect.batch({'wanted': 'text'})} AS b)"
        )

    async def plans(self, tx: Tx, workflow_ids: Iterable[str]) -> dict[str, Plan]:
        """The plans of these versions. Raises NotFound."""
        wanted = set(workflow_ids)
        missing = wanted - self._plans.keys()
        if missing:
            await self._load(tx, missing)
        return {workflow_id: self._plans[workflow_id] for workflow_id in wanted}

    def known_plans(self, workflow_ids: Iterable[str]) -> dict[str, Plan] | None:
        """The plans of these versions, None when one of them has not been read yet."""
        try:
            return {workflow_id: self._plans[workflow_id] for workflow_id in workflow_ids}
        except KeyError:
            return None

    async def _load(self, tx: Tx, missing: set[str]) -> None:
        if len(self._plans) + len(missing) > MOST_PLANS_KEPT:
            self._plans.clear()
        rows = await tx.rows(self._read_plans, batch=codec.dump_batch([[i] for i in missing]))
        self._plans.update({row[0]: plan_from_json(row[1]) for row in rows})
        unknown = missing - self._plans.keys()
        if unknown:
            raise not_found("workflow version", ", ".join(sorted(unknown)), "a published version")


class Part:
    """Base of the store's parts."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._db = shared.database

    @property
    def _dialect(self) -> Dialect:
        return self._db.dialect

    def _sql(self, template: str, **more: str) -> TextClause:
        return self._dialect.sql(template, **more)


def not_found(what: str, found: str, wanted: str) -> NotFound:
    """A NotFound that names place, found and wanted."""
    problem = Problem(place=what, found=found, wanted=wanted)
    return NotFound(f"no such {what}: {found}", problems=[problem])
