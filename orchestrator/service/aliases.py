"""Set, remove and list aliases of versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.aliases import alias_problems
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports import AliasChange, AliasRecord, NewAliasChange, WorkflowStore
from orchestrator.service.vouching import Vouching

MOST_CHANGES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasView:
    """The aliases of a workflow, and what was done to them, newest first, 50 at most."""

    workflow: str
    latest: int
    aliases: Sequence[AliasRecord]
    changes: Sequence[AliasChange]


class Aliases:
    """What people do with the names of versions. Runs that have begun are not touched by it."""

    def __init__(self, store: WorkflowStore, vouching: Vouching) -> None:
        self._store, self._vouching = store, vouching

    async def set(
        self, workflow: str, alias: str, version: int, *, by: str, reason: str = "",
        share: float | None = None,
    ) -> AliasView:  # fmt: skip
        """Have the alias name this version from the next run on.

        `share` (percent): how many of the runs that name no version get it; `canary` alone, and
        without one it is left out, so that only who asks for it gets it. Raises InvalidInput,
        NotFound that names the versions there are, Untrusted for one that may not be run.
        """
        problems = alias_problems(alias, share)
        if problems:
            raise InvalidInput("the alias cannot be set", problems=problems)
        await self._runnable(workflow, alias, version)
        await self._store.change_alias(
            NewAliasChange(
                workflow=workflow, alias=alias, version=version, share=share or 0.0, by=by,
                reason=reason.strip(),
            )
        )  # fmt: skip
        return await self.show(workflow)

    async def remove(self, workflow: str, alias: str, *, by: str, reason: str = "") -> AliasView:
        """Have the alias name nothing any more; new runs are as if it had never been.

        Raises NotFound for an unknown workflow, Conflict where there is nothing to remove.
        """
        offered = await self._store.offered(workflow)
        if alias not in offered.aliases:
            known = ", ".join(sorted(offered.aliases)) or "there are none"
            problem = Problem(place=f"alias of workflow {workflow}", found=alias, wanted=known)
            raise Conflict(f"there is no {workflow}@{alias}", problems=[problem])
        await self._store.change_alias(
            NewAliasChange(
                workflow=workflow, alias=alias, version=None, by=by, reason=reason.strip()
            )
        )
        return await self.show(workflow)

    async def show(self, workflow: str) -> AliasView:
        """All of one workflow. Raises NotFound."""
        return AliasView(
            workflow=workflow, latest=(await self._store.offered(workflow)).latest.version,
            aliases=await self._store.aliases(workflow),
            changes=await self._store.alias_changes(workflow, limit=MOST_CHANGES),
        )  # fmt: skip

    async def _runnable(self, workflow: str, alias: str, version: int) -> None:
        """Raises NotFound with what there is, Untrusted."""
        newest = (await self._store.offered(workflow)).latest.version
        if not 1 <= version <= newest:
            problem = Problem(
                place=f"alias {alias} of workflow {workflow}", found=f"version {version}",
                wanted=f"1 to {newest}",
            )  # fmt: skip
            raise NotFound(f"there is no version {version} of {workflow}", problems=[problem])
        await self._vouching.current(await self._store.workflow(workflow, version))
