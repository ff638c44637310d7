"""`/v1/pauses`: what is to begin nothing for now."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field, model_validator

from orchestrator.api.asking import TEXT, UUID, Asker, Tenant, Use, hidden
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Decide, Page
from orchestrator.api.wait_shapes import PauseShape
from orchestrator.errors import NotFound
from orchestrator.ports import Pause, Role
from orchestrator.service.pausing import Scope
from orchestrator.service.principal import Principal
from orchestrator.wiring_services import Services

router = APIRouter(route_class=LookingRoute, prefix="/v1/pauses", tags=["pauses"])

PauseId = Annotated[str, Path(pattern=UUID, description="A pause's id.")]


class PauseWish(Decide):
    """What is to be paused: a run, or all of a workflow, of a tenant, or of both; or everything."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"workflow": "checkout", "reason": "wrong prices"}]},
    )

    run_id: str | None = Field(default=None, pattern=UUID)
    workflow: str | None = Field(default=None, min_length=1, max_length=200, pattern=TEXT)
    tenant: str | None = Field(default=None, min_length=1, max_length=200, pattern=TEXT)
    everything: bool = Field(default=False, description="All runs that the key reaches.")
    also_undoing: bool = Field(default=False, description="Runs that turn back stop as well.")
    seconds: float | None = Field(
        default=None, gt=0, le=315_360_000, description="It ends by itself after these."
    )

    @model_validator(mode="after")
    def _one_of(self) -> PauseWish:
        many = self.workflow is not None or self.tenant is not None
        if [self.run_id is not None, many, self.everything].count(True) != 1:
            raise ValueError("either run_id, or workflow and tenant or one of them, or everything")
        return self


@router.get("", operation_id="listPauses")
async def list_pauses(
    who: Asker,
    services: Use,
    *,
    state: Annotated[Literal["active", "all"], Query()] = "active",
    tenant: Tenant = None,
) -> Page[PauseShape]:
    """The newest 500, newest first. A key that is bound to a tenant sees those of its tenant."""
    who.require(Role.VIEWER)
    wanted = who.tenant_of(tenant)
    found = await services.pausing.list(active_only=state == "active")
    return Page(items=[_shape(each) for each in found if wanted is None or each.tenant == wanted])


@router.post("", operation_id="pause", status_code=201, responses=documented(404, 409))
async def pause(wish: PauseWish, who: Asker, services: Use) -> PauseShape:
    """Let runs begin nothing more, within a second; calls in flight end and are recorded."""
    who.require(Role.OPERATOR)
    scope = await _scope(wish, who, services)
    made = await services.pausing.pause(
        scope, by=who.name, reason=wish.reason, also_undoing=wish.also_undoing,
        seconds=wish.seconds,
    )  # fmt: skip
    return _shape(made)


@router.post("/{pause_id}/resume", operation_id="resume", responses=documented(404, 409))
async def resume(pause_id: PauseId, wish: Decide, who: Asker, services: Use) -> PauseShape:
    """End it. Of two who do so at once one is told 409, and who was first."""
    who.require(Role.OPERATOR)
    try:
        found = await services.pausing.show(pause_id)
    except NotFound:
        raise hidden("pause", pause_id) from None
    if who.tenant is not None and found.tenant != who.tenant:
        raise hidden("pause", pause_id)
    return _shape(await services.pausing.resume(found.id, by=who.name, reason=wish.reason))


async def _scope(wish: PauseWish, who: Principal, services: Services) -> Scope:
    """Of a key that is bound to a tenant never more than that. Raises NotAllowed, NotFound."""
    if wish.run_id is None:
        return Scope(workflow=wish.workflow, tenant=who.tenant_of(wish.tenant))
    try:
        run = await services.runs.get(wish.run_id)
    except NotFound:
        raise hidden("run", wish.run_id) from None
    if not who.sees(run.tenant):
        raise hidden("run", wish.run_id)
    return Scope(run_id=run.id)


def _shape(pause: Pause) -> PauseShape:
    return PauseShape.model_validate(pause)
