"""Aliases of versions in memory."""

from __future__ import annotations

from orchestrator.core.aliases import STABLE, Named, Offered
from orchestrator.ports.aliases import AliasChange, AliasRecord, NewAliasChange
from orchestrator.store.aliases import no_alias, no_version
from orchestrator.store.codec import storable
from orchestrator.testing.memory import versions
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.tables import MemoryDatabase


class MemoryAliases(Passing):
    """Implements ports.AliasStore, and what follows from aliases of ports.WorkflowStore."""

    async def offered(self, name: str) -> Offered:
        """See AliasStore."""
        return await self._pass("offered", lambda: _offered(self.database, name))

    async def change_alias(self, change: NewAliasChange) -> None:
        """See AliasStore."""
        await self._pass("change_alias", lambda: _change(self.database, change))

    async def aliases(self, name: str) -> list[AliasRecord]:
        """See AliasStore."""
        known = self.database.aliases
        return await self._pass(
            "aliases", lambda: [known[at] for at in sorted(known) if at[0] == name]
        )

    async def alias_changes(self, name: str, *, limit: int) -> list[AliasChange]:
        """See AliasStore."""
        return await self._pass(
            "alias_changes",
            lambda: [x for x in self.database.alias_changes[::-1] if x.workflow == name][:limit],
        )

    async def changes_published(self) -> int:
        """See WorkflowStore."""
        return await self._pass(
            "changes_published",
            lambda: (
                sum(map(len, self.database.versions.values())) + len(self.database.alias_changes)
            ),
        )

    async def offered_ids(self) -> dict[str, str]:
        """See WorkflowStore."""
        return await self._pass(
            "offered_ids",
            lambda: {
                name: _usual_id(self.database, name) for name in sorted(self.database.versions)
            },
        )


def _offered(database: MemoryDatabase, name: str) -> Offered:
    latest, known = versions.workflow(database, name, None), database.versions[name]
    return Offered(
        workflow=name, latest=Named(version=latest.version, workflow_id=latest.id),
        aliases={
            alias: Named(
                version=each.version, workflow_id=known[each.version - 1].id, share=each.share
            )
            for (workflow, alias), each in database.aliases.items() if workflow == name
        },
    )  # fmt: skip


def _usual_id(database: MemoryDatabase, name: str) -> str:
    offered = _offered(database, name)
    return offered.aliases.get(STABLE, offered.latest).workflow_id


def _change(database: MemoryDatabase, change: NewAliasChange) -> None:
    at, now = (change.workflow, change.alias), database.clock()
    by, reason = storable(change.by), storable(change.reason)
    if change.version is None:
        if database.aliases.pop(at, None) is None:
            raise no_alias(*at)
    else:
        newest = len(database.versions.get(change.workflow, []))
        if not 1 <= change.version <= newest:
            raise no_version(change, newest or None)
        database.aliases[at] = AliasRecord(
            workflow=change.workflow, alias=change.alias, version=change.version,
            share=change.share, at=now, by=by, reason=reason,
        )  # fmt: skip
    noted = AliasChange(
        workflow=change.workflow, alias=change.alias, version=change.version, share=change.share,
        at=now, by=by, reason=reason,
    )  # fmt: skip
    database.alias_changes.append(noted)
