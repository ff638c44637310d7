"""From what somebody asks for (`order`, `order@3`, `order@stable`) to a published version."""

from __future__ import annotations

from orchestrator.core.aliases import Way, Ways, asked, ways
from orchestrator.ports import WorkflowStore, WorkflowVersion


async def ways_to(store: WorkflowStore, what: str, version: int | None = None) -> Ways:
    """Where a wish may lead, by one statement. Raises NotFound, InvalidInput."""
    wish = asked(what, version)
    if wish.version is None:
        return ways(wish, await store.offered(wish.workflow))
    found = await store.workflow(wish.workflow, wish.version)
    way = Way(version=found.version, workflow_id=found.id)
    return Ways(workflow=found.workflow, plain=way)


async def version_asked(
    store: WorkflowStore, what: str, version: int | None = None
) -> WorkflowVersion:
    """The one that most runs get, `canary`'s share left out. Raises NotFound, InvalidInput."""
    found = await ways_to(store, what, version)
    return await store.workflow(found.workflow, found.plain.version)


async def version_to_see(
    store: WorkflowStore, what: str, version: int | None = None
) -> WorkflowVersion:
    """The same for who looks: without a version it is the latest, whatever aliases say."""
    wish = asked(what, version)
    if wish.alias:
        return await version_asked(store, what)
    return await store.workflow(wish.workflow, wish.version)
