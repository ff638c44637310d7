"""Aliases of versions. See ports.AliasStore."""

from __future__ import annotations

from typing import Any

import uuid_utils

from orchestrator.core.aliases import Named, Offered
from orchestrator.errors import Conflict, NotFound, Problem
from orchestrator.ports.aliases import AliasChange, AliasRecord, NewAliasChange
from orchestrator.store.codec import instant, storable
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx

_COLUMNS = "workflow, alias, version, share, changed_at, changed_by, reason"
_VALUES = ":workflow, :alias, :version, :share, {now}, :by, :reason"
MOST_NAMES_SHOWN = 20


class Aliases(Part):
    """Implements ports.AliasStore. Versions are never deleted, so neither is what one names."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._offered = self._sql(
            "SELECT '', version, id, 0.0 FROM (SELECT version, id FROM workflows"
            " WHERE name = :name ORDER BY version DESC LIMIT 1) AS newest"
            " UNION ALL SELECT a.alias, a.version, w.id, a.share FROM workflow_aliases AS a"
            " JOIN workflows AS w ON w.name = a.workflow AND w.version = a.version"
            " WHERE a.workflow = :name"
        )
        self._newest = self._sql("SELECT max(version) FROM workflows WHERE name = :workflow")
        self._names = self._sql("SELECT DISTINCT name FROM workflows ORDER BY name")
        self._put = self._sql(
            f"INSERT INTO workflow_aliases ({_COLUMNS}) VALUES ({_VALUES})"
            " ON CONFLICT (workflow, alias) DO UPDATE SET version = excluded.version,"
            " share = excluded.share, changed_at = excluded.changed_at,"
            " changed_by = excluded.changed_by, reason = excluded.reason"
        )
        self._remove = self._sql(
            "DELETE FROM workflow_aliases WHERE workflow = :workflow AND alias = :alias"
        )
        self._note = self._sql(
            f"INSERT INTO workflow_alias_changes (id, {_COLUMNS}) VALUES (:id, {_VALUES})"
        )
        self._all = self._sql(
            f"SELECT {_COLUMNS} FROM workflow_aliases WHERE workflow = :name ORDER BY alias"
        )
        self._changes = self._sql(
            f"SELECT {_COLUMNS} FROM workflow_alias_changes WHERE workflow = :name"
            " ORDER BY id DESC LIMIT :most"
        )

    async def offered(self, name: str) -> Offered:
        """See AliasStore."""
        named = {
            row[0]: Named(version=row[1], workflow_id=row[2], share=row[3])
            for row in await self._db.rows(self._offered, name=name)
        }
        latest = named.pop("", None)
        if latest is None:
            names = [row[0] for row in await self._db.rows(self._names)]
            raise unknown_workflow(name, names)
        return Offered(workflow=name, latest=latest, aliases=named)

    async def change_alias(self, change: NewAliasChange) -> None:
        """See AliasStore."""
        await self._db.write(lambda tx: self._change(tx, change))

    async def aliases(self, name: str) -> list[AliasRecord]:
        """See AliasStore."""
        found = await self._db.rows(self._all, name=name)
        return [AliasRecord(**_told(row)) for row in found]

    async def alias_changes(self, name: str, *, limit: int) -> list[AliasChange]:
        """See AliasStore."""
        found = await self._db.rows(self._changes, name=name, most=limit)
        return [AliasChange(**_told(row)) for row in found]

    async def _change(self, tx: Tx, change: NewAliasChange) -> None:
        name, alias = change.workflow, change.alias
        note = {
            "workflow": name, "alias": alias, "version": change.version, "share": change.share,
            "by": storable(change.by), "reason": storable(change.reason),
        }  # fmt: skip
        if change.version is None:
            if not await tx.change(self._remove, workflow=name, alias=alias):
                raise no_alias(name, alias)
        else:
            row = await tx.row(self._newest, workflow=name)
            if row is None or row[0] is None or not 1 <= change.version <= row[0]:
                raise no_version(change, None if row is None else row[0])
            await tx.change(self._put, **note)
        await tx.change(self._note, id=str(uuid_utils.uuid7()), **note)


def unknown_workflow(name: str, known: list[str]) -> NotFound:
    """Names what there is."""
    names = ", ".join(known[:MOST_NAMES_SHOWN]) or "nothing is published yet"
    more = len(known) - MOST_NAMES_SHOWN
    return not_found("workflow", name, f"{names} and {more} more" if more > 0 else names)


def no_alias(workflow: str, alias: str) -> Conflict:
    """There is nothing to remove."""
    place = f"alias of workflow {workflow}"
    problem = Problem(place=place, found=alias, wanted="one of its aliases")
    return Conflict(f"there is no {workflow}@{alias}", problems=[problem])


def no_version(change: NewAliasChange, newest: int | None) -> NotFound:
    """An alias names a version that exists."""
    wanted = "a published workflow" if newest is None else f"1 to {newest}"
    found = f"version {change.version}"
    place = f"alias {change.alias} of workflow {change.workflow}"
    problem = Problem(place=place, found=found, wanted=wanted)
    return NotFound("an alias cannot name a version that does not exist", problems=[problem])


def _told(row: Any) -> dict[str, Any]:
    return {
        "workflow": row[0], "alias": row[1], "version": row[2], "share": float(row[3]),
        "at": instant(row[4]), "by": row[5], "reason": row[6],
    }  # fmt: skip
