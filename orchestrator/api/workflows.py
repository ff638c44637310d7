"""`/v1/workflows`: what may be run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse

from orchestrator.api import reading, shapes
from orchestrator.api.asking import TEXT, Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.ports import Role

router = APIRouter(route_class=LookingRoute, prefix="/v1/workflows", tags=["workflows"])

Name = Annotated[str, Path(max_length=200, pattern=TEXT, description="The workflow's name.")]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("", operation_id="listWorkflows")
async def list_workflows(who: Asker, services: Use) -> shapes.Page[shapes.WorkflowSummary]:
    """The latest version of each workflow, by name."""
    who.require(Role.VIEWER)
    found = await services.workflows.list()
    return shapes.Page(items=[reading.workflow_summary(each) for each in found])


@router.get("/{name}", operation_id="showWorkflow", responses=documented(404))
async def show_workflow(
    name: Name,
    who: Asker,
    services: Use,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Default: the latest.")
    ] = None,
) -> shapes.WorkflowDetail:
    """One version: its inputs, its steps, and what undoes them."""
    who.require(Role.VIEWER)
    return reading.workflow_detail(await services.workflows.show(name, version))


@router.get("/{name}/versions", operation_id="listVersions", responses=documented(404))
async def list_versions(
    name: Name, who: Asker, services: Use
) -> shapes.Page[shapes.WorkflowSummary]:
    """All versions of one workflow, newest first."""
    who.require(Role.VIEWER)
    await services.workflows.show(name)
    found = await services.workflows.versions(name)
    return shapes.Page(items=[reading.workflow_summary(each) for each in found])


@router.get("/{name}/changes", operation_id="listChanges", responses=documented(404))
async def list_changes(
    name: Name,
    who: Asker,
    services: Use,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Default: the latest.")
    ] = None,
    since: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Default: the version before it.")
    ] = None,
) -> shapes.VersionChanges:
    """What tells one version from an earlier one, in words."""
    who.require(Role.VIEWER)
    found = await services.comparing.of_version(name, version, since)
    return shapes.VersionChanges.model_validate(found)


@router.get(
    "/{name}/versions/{version}/document",
    operation_id="showDocument",
    response_class=PlainTextResponse,
    responses=documented(404),
)
async def show_document(name: Name, version: Version, who: Asker, services: Use) -> str:
    """The document as it was published."""
    who.require(Role.VIEWER)
    return (await services.workflows.show(name, version)).document
