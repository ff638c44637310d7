"""How requests of the REST face are put together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import uuid_utils

from orchestrator.client.requests import Request, only

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagged(Generic[T]):
    """A thing with its entity tag, which a decision on it carries."""

    value: T
    tag: str


def look(shape: type[T], *path: str, **params: Any) -> Request[T]:
    """A request that changes nothing."""
    return Request(
        method="GET", path=path_of(path), read=only(shape), params=given(**params)
    )  # fmt: skip


def act(shape: type[T], *path: str, **body: Any) -> Request[T]:
    """Something that is not to be done twice by mistake."""
    return Request(
        method="POST", path=path_of(path), read=only(shape), body=body or None, repeatable=False
    )


def keyed(request: Request[T], key: str | None) -> Request[T]:
    """The same under a key, so that sending it again does no more."""
    key = key or str(uuid_utils.uuid7())
    return replace(request, headers={"Idempotency-Key": key}, repeatable=True)


def path_of(parts: Collection[str]) -> str:
    """The path to what these parts name."""
    first, *rest = parts  # the first is ours, and may hold a colon
    return "/".join(["/v1", first, *map(safe, rest)])


def tagged(read: Callable[[httpx.Response], T]) -> Callable[[httpx.Response], Tagged[T]]:
    """Reads the entity tag as well."""
    return lambda response: Tagged(value=read(response), tag=response.headers["etag"])


def safe(part: str) -> str:
    """As one segment of a path, whatever is in it."""
    return quote(part, safe="")


def moment(at: datetime | None) -> str | None:
    """As a parameter has it."""
    return None if at is None else at.isoformat()


def given(**params: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in params.items() if value is not None}


def if_as_then(request: Request[T], tag: str | None) -> Request[T]:
    """With a tag: only if the thing is as it was when that was read."""
    return request if tag is None else replace(request, headers={"If-Match": tag})
