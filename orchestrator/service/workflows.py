"""Publish and find workflow versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.definitions.children import children_first
from orchestrator.definitions.loading import Loaded, export_module, load_path
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.ports import WorkflowStore, WorkflowVersion
from orchestrator.service.asking import version_asked, version_to_see
from orchestrator.service.vouching import Vouching


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The answer to publishing one workflow."""

    version: WorkflowVersion
    is_new: bool  # False: the latest version is the same already
    warnings: tuple[str, ...]


class Definitions:
    """Workflow definitions on disk; needs neither database nor broker."""

    def __init__(self, tasks: TaskRegistry) -> None:
        self._tasks = tasks

    @property
    def tasks(self) -> TaskRegistry:
        """The registered functions."""
        return self._tasks

    def validate(self, path: Path, *, effects_may_stay: bool = False) -> list[Loaded]:
        """Load and validate without storing. Raises InvalidDefinition with every problem."""
        return load_path(path, tasks=self._tasks, effects_may_stay=effects_may_stay)

    def export(self, path: Path) -> str:
        """The workflows over APIs of a Python file as an Arazzo document. Raises NotFound."""
        return export_module(path, tasks=self._tasks)


class Workflows:
    """Workflow versions. Publishing is all or nothing for each file."""

    def __init__(
        self, store: WorkflowStore, definitions: Definitions, vouching: Vouching | None = None
    ) -> None:
        """`vouching` None: nothing is signed, and whatever is stored may be run."""
        self._store, self._definitions = store, definitions
        self.vouching = vouching or Vouching(store, None, signer=None)

    @property
    def tasks(self) -> TaskRegistry:
        """The registered functions."""
        return self._definitions.tasks

    async def publish(
        self, path: Path, *, by: str, effects_may_stay: bool = False
    ) -> list[Published]:
        """Publish every workflow of a document, a folder of documents or the task modules.

        Those that others begin come before these.
        """
        loaded = self._definitions.validate(path, effects_may_stay=effects_may_stay)
        by_name = {each.plan.workflow: each for each in loaded}
        found = [by_name[plan.workflow] for plan in children_first(x.plan for x in loaded)]
        return [await self.publish_loaded(loaded, by=by) for loaded in found]

    async def publish_loaded(self, loaded: Loaded, *, by: str) -> Published:
        """Publish one validated workflow."""
        version, is_new = await self._store.publish(
            loaded.plan, document=loaded.document, by=by, operations=loaded.operations,
            signer=self.vouching.signer,
        )  # fmt: skip
        return Published(version=version, is_new=is_new, warnings=tuple(loaded.warnings))

    async def show(self, name: str, version: int | None = None) -> WorkflowVersion:
        """One version: `order@3`, `order@stable`, or the latest. Raises NotFound, InvalidInput."""
        return await version_to_see(self._store, name, version)

    async def wanted(self, what: str, version: int | None = None) -> WorkflowVersion:
        """The one that a run would begin with, `canary`'s share left out.

        Raises NotFound, InvalidInput.
        """
        return await version_asked(self._store, what, version)

    async def trusted(self, what: str) -> WorkflowVersion:
        """The same, for who runs it or believes it. Raises NotFound, InvalidInput, Untrusted."""
        return await self.vouching.current(await self.wanted(what))

    async def versions(self, name: str) -> list[WorkflowVersion]:
        """All versions, newest first."""
        return await self._store.versions(name)

    async def list(self) -> list[WorkflowVersion]:
        """The latest version of each."""
        return await self._store.workflows()
