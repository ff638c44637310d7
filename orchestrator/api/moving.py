"""Waiting runs go on by another version, over REST; and acts on many runs that are tried."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from orchestrator.api import moving_shapes, reading, shapes
from orchestrator.api.asking import TEXT, Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.runs import Run, operator
from orchestrator.ports import Role
from orchestrator.service.moving import Migration
from orchestrator.service.rerunning import Rerun

router = APIRouter(route_class=LookingRoute, prefix="/v1", tags=["runs"])

Step = Annotated[
    str | None,
    Query(
        min_length=1, max_length=200, pattern=TEXT,
        description="To go on at; without, the one at which it waits.",
    ),
]  # fmt: skip


@router.get("/runs/{run_id}/migration", operation_id="checkMigration", responses=documented(404))
async def check_migration(
    run: Run,
    services: Use,
    to: Annotated[int, Query(ge=1, le=2**31 - 1, description="The version.")],
    step: Step = None,
) -> moving_shapes.MigrationShape:
    """What going on by another version would be, and all that stands against it."""
    look = await services.moving.look(run.id, Migration(to=to, step=step))
    return moving_shapes.MigrationShape.model_validate(look)


@router.post(
    "/runs/{run_id}/migrate",
    operation_id="migrateRun",
    responses=documented(404, 409),
    dependencies=[Depends(operator)],
)
async def migrate_run(
    run: Run, wish: moving_shapes.MigrateWish, who: Asker, services: Use
) -> shapes.RunDetail:
    """Have a waiting run go on by another version; what it did keeps the undo of its own."""
    moved = await services.moving.migrate(
        run.id, Migration(to=wish.to, step=wish.step), by=who.name, reason=wish.reason
    )
    return await reading.run_detail(services, moved)


@router.get("/runs/{run_id}/rerun", operation_id="checkRerun", responses=documented(404))
async def check_rerun(
    run: Run,
    services: Use,
    step: Annotated[
        str, Query(min_length=1, max_length=200, pattern=TEXT, description="To begin with.")
    ],
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Without, the one that it followed.")
    ] = None,
    repeat_effects: Annotated[
        bool, Query(description="What stands from there on may come a second time.")
    ] = False,
) -> moving_shapes.RerunLookShape:
    """What a new run from a step on would take over and do, and all that stands against it."""
    wish = Rerun(
        run_id=run.id, step=step, by="", reason="", version=version, repeat_effects=repeat_effects
    )
    return moving_shapes.RerunLookShape.model_validate(await services.rerunning.look(wish))


@router.post("/runs:check", operation_id="checkRuns", responses=documented(404))
async def check_runs(
    wish: moving_shapes.CheckRuns, who: Asker, services: Use
) -> moving_shapes.CheckedShape:
    """Try an act on the newest 1,000 runs that fit: on how many it would be done, and why not."""
    who.require(Role.VIEWER)
    which = wish.where.filter_of(who.tenant_of(wish.where.tenant))
    found = await services.checking_runs.check(wish.act, which, wish.arguments())
    return moving_shapes.CheckedShape.model_validate(found)
