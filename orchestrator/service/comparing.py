"""What tells two versions of a workflow apart: published ones, and what would be published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.differing import Change, differences
from orchestrator.core.plan import Plan
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import WorkflowStore, WorkflowVersion
from orchestrator.service.asking import version_to_see
from orchestrator.service.workflows import Definitions

_WANTED = "WORKFLOW (the latest version), WORKFLOW@3, an alias, or the path of a document"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Two versions and all that differs, the steps in their order."""

    before: str  # `checkout v3`, or a file with its workflow
    after: str
    changes: Sequence[Change]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    label: str
    plan: Plan


class Comparing:
    """Compares plans. What is said of the past is read as it was stored."""

    def __init__(self, store: WorkflowStore, definitions: Definitions) -> None:
        self._store, self._definitions = store, definitions

    async def compared(self, before: str, after: str | None = None) -> Compared:
        """Two of: `checkout` (its latest version), `checkout@3`, the path of a document.

        Of one published version alone: with the one before it. Raises NotFound; InvalidInput for
        what names no version; InvalidDefinition for a document; Untrusted for a spoilt plan.
        """
        if after is None and not _is_file(before):
            found = await self._asked(before)
            return await self.of_version(found.workflow, found.version)
        if after is None:
            after, before = before, self._only(before).workflow
        first = None if _is_file(before) else _side(await self._asked(before))
        second = (
            self._written(after, None if first is None else first.plan.workflow)
            if _is_file(after)
            else _side(await self._asked(after))
        )
        return _compared(first or self._written(before, second.plan.workflow), second)

    async def of_version(
        self, name: str, version: int | None = None, since: int | None = None
    ) -> Compared:
        """One version (None: the latest) beside an earlier one (None: the one before it).

        Raises NotFound, Untrusted; InvalidInput for a first version that has none before it.
        """
        after = await self._store.workflow(name, version)
        if since is None and after.version == 1:
            problem = Problem(
                place=f"{name} v1", found="the first version", wanted="one with another before it"
            )
            raise InvalidInput("there is nothing to compare it with", problems=[problem])
        before = await self._store.workflow(name, since or after.version - 1)
        return _compared(_side(before), _side(after))

    async def _asked(self, what: str) -> WorkflowVersion:
        if "/" in what:
            problem = Problem(place=what, found="no such file", wanted=_WANTED)
            raise NotFound("nothing was compared", problems=[problem])
        return await version_to_see(self._store, what)

    def _written(self, path: str, name: str | None) -> _Side:
        plans = {each.plan.workflow: each.plan for each in self._definitions.validate(Path(path))}
        if name is None or name not in plans:
            return _Side(label=path, plan=self._only(path))
        return _Side(label=f"{name} of {path}", plan=plans[name])

    def _only(self, path: str) -> Plan:
        plans = [each.plan for each in self._definitions.validate(Path(path))]
        if len(plans) != 1:
            names = ", ".join(plan.workflow for plan in plans) or "none"
            problem = Problem(
                place=path, found=f"{len(plans)} workflows: {names}",
                wanted="one, or the name of one of them on the other side",
            )  # fmt: skip
            raise InvalidInput("nothing was compared", problems=[problem])
        return plans[0]


def _is_file(what: str) -> bool:
    return Path(what).is_file()


def _side(version: WorkflowVersion) -> _Side:
    if version.unread is not None:
        raise version.unread
    return _Side(label=f"{version.workflow} v{version.version}", plan=version.plan)


def _compared(before: _Side, after: _Side) -> Compared:
    return Compared(
        before=before.label, after=after.label, changes=differences(before.plan, after.plan)
    )
