"""`/v1/workflows/{name}/aliases`: names of versions that move."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.asking import TEXT, Asker, Use
from orchestrator.api.looking import LookingRoute
from orchestrator.api.problems import documented
from orchestrator.api.shapes import Shape
from orchestrator.core.aliases import ALIAS
from orchestrator.ports import Role

router = APIRouter(
    route_class=LookingRoute, prefix="/v1/workflows/{name}/aliases", tags=["workflows"]
)

Name = Annotated[str, Path(max_length=200, pattern=TEXT, description="The workflow's name.")]
Alias = Annotated[
    str, Path(pattern=f"^{ALIAS.pattern}$", description="`stable`, `canary`, or one of your own.")
]
_REASON = Field(default="", max_length=2000, description="Why; kept with the change.")
_SHARE = "Percent of the runs that name no version; 0 but for `canary`."


class AliasShape(Shape):
    """What an alias names now."""

    workflow: str
    alias: str
    version: int
    share: float = Field(description=_SHARE)
    at: datetime = Field(description="Since when.")
    by: str
    reason: str


class AliasChangeShape(Shape):
    """What was done to an alias."""

    workflow: str
    alias: str
    version: int | None = Field(description="null: it was removed.")
    share: float = Field(description=_SHARE)
    at: datetime
    by: str
    reason: str


class AliasesShape(Shape):
    """The aliases of a workflow, and the 50 newest changes, newest first."""

    workflow: str
    latest: int = Field(description="What runs get that name no version, where no `stable` is.")
    aliases: list[AliasShape]
    changes: list[AliasChangeShape]


class AliasWish(BaseModel):
    """What an alias is to name."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": 4, "share": 10}]}
    )

    version: int = Field(ge=1, le=2**31 - 1)
    share: float | None = Field(
        default=None, ge=0, le=100,
        description="Percent of the runs that name no version; for `canary` alone.",
    )  # fmt: skip
    reason: str = _REASON


class AliasRemoval(BaseModel):
    """Why it is removed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "bad"}]})

    reason: str = _REASON


@router.get("", operation_id="listAliases", responses=documented(404))
async def list_aliases(name: Name, who: Asker, services: Use) -> AliasesShape:
    """What the aliases of a workflow name, and who changed them."""
    who.require(Role.VIEWER)
    return AliasesShape.model_validate(await services.aliases.show(name))


@router.put("/{alias}", operation_id="setAlias", responses=documented(404))
async def set_alias(
    name: Name, alias: Alias, wish: AliasWish, who: Asker, services: Use
) -> AliasesShape:
    """Have an alias name a version from the next run on; runs that have begun keep theirs.

    Who names no version gets `stable`, else the latest; of these runs `canary` takes its share.
    """
    who.require(Role.OPERATOR)
    who.require_all_tenants()
    found = await services.aliases.set(
        name, alias, wish.version, share=wish.share, by=who.name, reason=wish.reason
    )
    return AliasesShape.model_validate(found)


@router.post("/{alias}/remove", operation_id="removeAlias", responses=documented(404, 409))
async def remove_alias(
    name: Name, alias: Alias, wish: AliasRemoval, who: Asker, services: Use
) -> AliasesShape:
    """Have an alias name nothing any more: takes a canary back."""
    who.require(Role.OPERATOR)
    who.require_all_tenants()
    found = await services.aliases.remove(name, alias, by=who.name, reason=wish.reason)
    return AliasesShape.model_validate(found)
