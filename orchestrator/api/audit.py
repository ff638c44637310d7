"""The audit of many runs: their stories side by side, for other systems, and without payloads."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from orchestrator.api import bulk, reading
from orchestrator.api.asking import Asker, Tenant, Use
from orchestrator.api.looking import LookingRoute, look_of, through
from orchestrator.api.problems import documented
from orchestrator.api.runs import Run, attributes_of
from orchestrator.api.shapes import Decide
from orchestrator.api.story_shapes import Erase, ErasedShape, TogetherShape
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES, given_problems
from orchestrator.errors import InvalidInput
from orchestrator.ports import Role, RunFilter
from orchestrator.service.explaining import MOST_TOGETHER
from orchestrator.service.exporting import ExportFormat, Line

router = APIRouter(route_class=LookingRoute, tags=["audit"])

REACHED = "Audit-Checkpoint"
"""The header that says how far an export goes."""
CHUNK = 64 * 1024
"""Bytes that are written at once."""
LAST_CHECKPOINT = 2**31 - 1


class Export(StreamingResponse):
    """Lines that are read while they are written, so that no export is ever held as a whole."""

    media_type = bulk.MEDIA_TYPE


async def admin(who: Asker) -> None:
    """Raises NotAllowed for who is none; before anything is looked up."""
    who.require(Role.ADMIN)


@router.get("/v1/stories", operation_id="explainRuns")
async def explain_runs(
    who: Asker,
    services: Use,
    attribute: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=MOST_ATTRIBUTES,
            examples=["customer=42"],
            description="NAME=VALUE; of several, all have to hold.",
        ),
    ],
    tenant: Tenant = None,
    limit: Annotated[
        int, Query(ge=1, le=MOST_TOGETHER, description="The newest so many.")
    ] = MOST_TOGETHER,
) -> TogetherShape:
    """What happened to the runs of somebody or something, and what was done in them twice."""
    who.require(Role.VIEWER)
    which = RunFilter(attributes=attributes_of(attribute), tenant=who.tenant_of(tenant))
    return reading.together(await services.explaining.explain_all(which, most=limit))


@router.get(
    "/v1/audit",
    operation_id="exportAudit",
    response_class=Export,
    responses={
        200: {
            "description": "One JSON object a line, each record once, in order. An answer that"
            " breaks off is to be asked for again.",
            "headers": {
                REACHED: {
                    "description": "The newest checkpoint in it: the `since` of the next time.",
                    "schema": {"type": "integer"},
                }
            },
            "content": {bulk.MEDIA_TYPE: {"schema": {"type": "string"}}},
        }
    },
)
async def export_audit(
    request: Request,
    who: Asker,
    services: Use,
    *,
    since: Annotated[
        int,
        Query(
            ge=0,
            le=LAST_CHECKPOINT,
            description="A checkpoint's number: what later ones cover; 0: all.",
        ),
    ] = 0,
    until: Annotated[
        int | None,
        Query(ge=0, le=LAST_CHECKPOINT, description="The last checkpoint that is wanted."),
    ] = None,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire
        ExportFormat, Query(description="How each record is written.")
    ] = ExportFormat.JSONL,
    tenant: Tenant = None,
) -> Export:
    """The audit of all runs, or of one tenant's, up to the newest checkpoint."""
    who.require(Role.VIEWER)
    of = who.tenant_of(tenant)
    upto = await services.exporting.reach(since, until=until)
    look = look_of(request, services.looking)
    lines = through(
        services.looking, look, services.exporting.lines(since, upto, format, tenant=of)
    )
    return Export(_written(lines), headers={REACHED: str(upto)})


async def _written(lines: AsyncIterable[Line]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for line in lines:
        held += orjson.dumps(line)
        held += b"\n"
        if len(held) >= CHUNK:
            yield bytes(held)
            held.clear()
    yield bytes(held)


@router.post(
    "/v1/runs/{run_id}/erase",
    operation_id="eraseRun",
    responses=documented(404, 409),
    dependencies=[Depends(admin)],
)
async def erase_run(run: Run, wish: Decide, who: Asker, services: Use) -> ErasedShape:
    """Take away the payloads of a run that has ended, and of the runs below it, for good; their
    audit can still be verified. `more`: there are further thousands below it; ask again."""
    done = await services.erasing.erase(run.id, by=who.name, reason=wish.reason)
    return ErasedShape.model_validate(done)


@router.post("/v1/runs:erase", operation_id="eraseRuns")
async def erase_runs(wish: Erase, who: Asker, services: Use) -> ErasedShape:
    """The same of the newest 200 ended runs with these attributes; `more`: ask again."""
    who.require(Role.ADMIN)
    problems = list(given_problems(wish.attributes))
    if problems:
        raise InvalidInput("an attribute cannot be read", problems=problems)
    done = await services.erasing.erase_some(
        wish.attributes, tenant=who.tenant_of(wish.tenant), by=who.name, reason=wish.reason
    )
    return ErasedShape.model_validate(done)
