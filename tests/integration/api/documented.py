"""The operations of an OpenAPI document, and whether an answer is one that it documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

import httpx


@dataclass(frozen=True, kw_only=True, slots=True)
class Documented:
    """An operation as the document has it."""

    id: str
    method: str
    path: str
    statuses: frozenset[int]
    query: tuple[str, ...]
    takes_json: bool

    @property
    def names(self) -> list[str]:
        """The parts of its path that are filled in."""
        return [name for _, name, _, _ in Formatter().parse(self.path) if name is not None]


def documented(document: Mapping[str, Any]) -> list[Documented]:
    """All of them."""
    return [
        Documented(
            id=said["operationId"], method=method, path=path,
            statuses=frozenset(map(int, said["responses"])),
            query=tuple(p["name"] for p in said.get("parameters", ()) if p["in"] == "query"),
            takes_json="application/json" in said.get("requestBody", {}).get("content", {}),
        )
        for path, item in document["paths"].items()
        for method, said in item.items()
    ]  # fmt: skip


class Promises:
    """What a document promises. An answer that it does not know is a mistake of either."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._operations = [
            (each.method.upper(), re.compile(re.sub(r"\{[^}]+\}", "[^/]+", each.path)), each)
            for each in documented(document)
        ]

    async def check(self, response: httpx.Response) -> None:
        """Raises AssertionError for a status that is not documented. For httpx's event hooks."""
        request = response.request
        path = request.url.raw_path.decode().partition("?")[0]
        for method, pattern, operation in self._operations:
            if request.method == method and pattern.fullmatch(path):
                status = response.status_code
                assert status in operation.statuses, f"{operation.id} answers {status}"
