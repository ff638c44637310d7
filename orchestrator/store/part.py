"""What the parts of the store share: the database, and the plans that runs pin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import TextClause

from orchestrator.core.joining import ids_in, joined
from orchestrator.core.plan import Plan
from orchestrator.errors import NotFound, Problem, RefusedError
from orchestrator.store import codec, rows
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
            "SELECT id, plan, name, version, digest FROM workflows WHERE id IN"
            f" (SELECT wanted FROM {database.dialect.batch({'wanted': 'text'})} AS b)"
        )

    async def plans(self, tx: Tx, workflow_ids: Iterable[str]) -> dict[str, Plan]:
        """The plans of these versions. Raises NotFound, InvalidDefinition, Untrusted."""
        found, unread = await self._read(tx, workflow_ids)
        for _, error in unread.values():
            raise error
        return found

    async def readable(self, tx: Tx, workflow_ids: Iterable[str]) -> dict[str, Plan]:
        """The plans of those versions whose plans can be read. Raises NotFound."""
        return (await self._read(tx, workflow_ids))[0]

    async def outlines(self, tx: Tx, workflow_ids: Iterable[str]) -> dict[str, Plan]:
        """The plans of these versions; outlines of those that cannot be read. Raises NotFound.

        One spoilt row must not keep other runs from being claimed, nor its own from people.
        """
        found, unread = await self._read(tx, workflow_ids)
        return found | {known: plan for known, (plan, _) in unread.items()}

    def known_plans(self, workflow_ids: Iterable[str]) -> dict[str, Plan] | None:
        """The plans of these versions, None when one of them has not been read yet."""
        try:
            return {workflow_id: self._plans[workflow_id] for workflow_id in workflow_ids}
        except KeyError:
            return None

    async def _read(
        self, tx: Tx, workflow_ids: Iterable[str]
    ) -> tuple[dict[str, Plan], dict[str, tuple[Plan, RefusedError]]]:
        wanted = set(workflow_ids)
        missing = wanted - self._plans.keys()
        unread = await self._load(tx, missing) if missing else {}
        return {known: self._plans[known] for known in wanted - unread.keys()}, unread

    async def _load(self, tx: Tx, missing: set[str]) -> dict[str, tuple[Plan, RefusedError]]:
        """Keep what can be read; what cannot may be mended, so it is read anew each time."""
        if len(self._plans) + len(missing) > MOST_PLANS_KEPT:
            self._plans.clear()
        whole = {each: ids_in(each) for each in missing}
        single = {one for ids in whole.values() for one in ids}
        batch = codec.dump_batch([[i] for i in single])
        read = {}
        for known, text, name, version, digest in await tx.rows(self._read_plans, batch=batch):
            plan, error = rows.plan_of(text, workflow=name, version=version, digest=digest)
            read[known] = _Read(plan, version, error)
        unknown = single - read.keys()
        if unknown:
            raise not_found("workflow version", ", ".join(sorted(unknown)), "a published version")
        unread = {}
        for each, ids in whole.items():
            plan, error = _joined([read[one] for one in ids])
            if error is None:
                self._plans[each] = plan
            else:
                unread[each] = (plan, error)
        return unread


class _Read(NamedTuple):
    """A plan as it was read, or its outline and why it could not be."""

    plan: Plan
    version: int
    error: RefusedError | None


def _joined(parts: Sequence[_Read]) -> tuple[Plan, RefusedError | None]:
    """One plan of these versions, newest first; with the first reason against any of them."""
    *newer, oldest = parts
    plan = oldest.plan
    for each in reversed(newer):
        plan = joined(each.plan, each.version, plan, oldest.version)
    return plan, next((each.error for each in parts if each.error is not None), None)


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
