"""Small OpenAPI documents, a line for each operation."""

from __future__ import annotations

from typing import Any

from orchestrator.definitions.discovery import Proposal, Proposer, discover
from orchestrator.definitions.document import Document


def fields(*names: str, required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An object's schema: `id`, `size:integer`; more as whole schemas."""
    properties: dict[str, Any] = {}
    for name in names:
        key, _, kind = name.partition(":")
        properties[key] = {"type": kind or "string"}
    return {"type": "object", "properties": {**properties, **more}, "required": list(required)}


def operation(
    operation_id: str,
    summary: str = "",
    *,
    body: dict[str, Any] | None = None,
    answers: dict[int, dict[str, Any] | None] | None = None,
    query: tuple[str, ...] = (),
    **more: Any,
) -> dict[str, Any]:
    """One operation; without answers it answers 204."""
    found: dict[str, Any] = {"operationId": operation_id, "summary": summary, **more}
    if body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": body}}}
    found["parameters"] = [{"name": name, "in": "query", "required": True} for name in query]
    found["responses"] = {
        str(status): {"content": {"application/json": {"schema": schema}}} if schema else {}
        for status, schema in (answers or {204: None}).items()
    }
    return found


def document(operations: dict[str, dict[str, Any]], name: str = "api.yaml") -> Document:
    """Operations by `METHOD /path`."""
    paths: dict[str, dict[str, Any]] = {}
    for where, data in operations.items():
        method, _, path = where.partition(" ")
        paths.setdefault(path, {})[method.lower()] = data
    return Document(name=name, text="", value={"openapi": "3.0.3", "paths": paths})


def proposals(
    operations: dict[str, dict[str, Any]], *, proposer: Proposer | None = None
) -> dict[str, Proposal]:
    """What is proposed, by operation id."""
    found = discover([document(operations)], proposer=proposer)
    return {each.operation_id: each for each in found}
