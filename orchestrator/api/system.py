"""APIs, workers, queues, who asks, and whether this process is well."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from orchestrator.api import reading, shapes
from orchestrator.api.asking import TEXT, Asker, IfMatch, Use, check_match
from orchestrator.api.problems import documented
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import Role
from orchestrator.service.principal import Principal

router = APIRouter()

_CHANGE = documented(404, 409, 412)
WITHOUT_DATABASE = frozenset({"isAlive"})
ApiName = Annotated[str, Path(max_length=200, pattern=TEXT, description="As in config/apis.")]


@router.get("/v1/me", operation_id="showMe", tags=["access"])
async def show_me(who: Asker) -> shapes.Me:
    """Whom the request's key stands for."""
    return shapes.Me(name=who.name, role=who.role, tenant=who.tenant)


@router.get("/v1/apis", operation_id="listApis", tags=["apis"])
async def list_apis(who: Asker, services: Use) -> shapes.Page[shapes.ApiShape]:
    """Every API that has a file, was changed, or is called by a published workflow."""
    _operates(who, Role.VIEWER)
    found = await services.apis.overview()
    return shapes.Page(items=[reading.api(each) for each in found.apis])


@router.get("/v1/gate", operation_id="showGate", tags=["apis"])
async def show_gate(who: Asker, services: Use) -> shapes.Page[shapes.ApiStateShape]:
    """How each API stands at the gate now: breaker, pace, calls of the last seconds, slots."""
    _operates(who, Role.VIEWER)
    found = await services.apis.states()
    return shapes.Page(items=[reading.api_state(name, each) for name, each in found.items()])


@router.get("/v1/apis/{api}", operation_id="showApi", tags=["apis"], responses=documented(404))
async def show_api(api: ApiName, who: Asker, services: Use, response: Response) -> shapes.ApiShape:
    """One: what holds, where each value comes from, and what was changed."""
    _operates(who, Role.VIEWER)
    found = await services.apis.show(api)
    response.headers["ETag"] = reading.api_tag(found)
    return reading.api(found)


@router.patch("/v1/apis/{api}", operation_id="changeApi", tags=["apis"], responses=_CHANGE)
async def change_api(
    api: ApiName, wish: shapes.ChangeApi, who: Asker, services: Use, if_match: IfMatch = None
) -> shapes.ApiShape:
    """Override fields of its file in all workers, or take overrides back."""
    _operates(who, Role.ADMIN)
    if bool(wish.set) == bool(wish.reset):
        problem = Problem(place="body /", found="both or none", wanted="either `set` or `reset`")
        raise InvalidInput("the change is not clear", problems=[problem])
    await _check_match(api, if_match, services)
    if wish.set:
        found = await services.apis.set(api, wish.set, by=who.name, reason=wish.reason)
    else:
        found = await services.apis.reset(api, wish.reset, by=who.name, reason=wish.reason)
    return reading.api(found)


@router.post("/v1/apis/{api}/hold", operation_id="holdApi", tags=["apis"], responses=_CHANGE)
async def hold_api(
    api: ApiName, wish: shapes.Decide, who: Asker, services: Use, if_match: IfMatch = None
) -> shapes.ApiShape:
    """Let nothing leave for it; runs that need it park and do not fail."""
    _operates(who, Role.OPERATOR)
    await _check_match(api, if_match, services)
    return reading.api(await services.apis.hold(api, by=who.name, reason=wish.reason))


@router.post("/v1/apis/{api}/release", operation_id="releaseApi", tags=["apis"], responses=_CHANGE)
async def release_api(
    api: ApiName, wish: shapes.Decide, who: Asker, services: Use, if_match: IfMatch = None
) -> shapes.ApiShape:
    """End a hold; parked runs come back."""
    _operates(who, Role.OPERATOR)
    await _check_match(api, if_match, services)
    return reading.api(await services.apis.release(api, by=who.name, reason=wish.reason))


@router.get("/v1/workers", operation_id="listWorkers", tags=["workers"])
async def list_workers(who: Asker, services: Use) -> shapes.Page[shapes.WorkerShape]:
    """Worker processes with their heartbeats."""
    _operates(who, Role.VIEWER)
    found = await services.workers.workers()
    return shapes.Page(items=[shapes.WorkerShape.model_validate(each) for each in found])


@router.get("/v1/queues", operation_id="listQueues", tags=["workers"])
async def list_queues(who: Asker, services: Use) -> shapes.Page[shapes.QueueShape]:
    """Messages on the broker beside runs in the table."""
    _operates(who, Role.VIEWER)
    found = await services.queues.overview()
    return shapes.Page(items=[shapes.QueueShape.model_validate(each) for each in found])


@router.get("/health/live", operation_id="isAlive", tags=["health"])
async def is_alive() -> shapes.Health:
    """This process answers."""
    return shapes.Health(status="ok")


@router.get("/health/ready", operation_id="isReady", tags=["health"])
async def is_ready(services: Use) -> shapes.Health:
    """The database answers as well. Without the broker, runs are accepted and start later."""
    await services.runs.now()
    return shapes.Health(status="ok")


async def _check_match(api: str, given: str | None, services: Use) -> None:
    if given is not None:
        check_match(given, reading.api_tag(await services.apis.show(api)), f"the API {api}")


def _operates(who: Principal, role: Role) -> None:
    """These belong to the deployment, hence to no tenant."""
    who.require(role)
    who.require_all_tenants()
