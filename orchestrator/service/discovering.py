"""Compensation discovery over files: what undoes each operation of some APIs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.definitions.discovery import (
    PROPOSED_FROM,
    Proposal,
    Proposer,
    discover,
)
from orchestrator.definitions.document import SOURCES, Document, read_document
from orchestrator.errors import InvalidDefinition, Problem


def discover_files(
    paths: Sequence[Path], *, proposer: Proposer | None = None, least: float = PROPOSED_FROM
) -> list[Proposal]:
    """One proposal for each mutating operation of the OpenAPI documents, searched together.

    Raises NotFound, or InvalidDefinition with every file that is no OpenAPI document.
    """
    documents = [read_document(path, limits=SOURCES, with_lines=False) for path in paths]
    _check(documents)
    return discover(documents, proposer=proposer, least=least)


def _check(documents: Iterable[Document]) -> None:
    problems = [
        Problem(
            place=each.name, found=_kind(each.value),
            wanted="an OpenAPI document (openapi 3, swagger 2.0) with paths",
        )
        for each in documents
        if not isinstance(each.value, Mapping) or not _is_openapi(each.value)
    ]  # fmt: skip
    if problems:
        raise InvalidDefinition("there is nothing to discover", problems=problems)


def _is_openapi(value: Mapping[str, Any]) -> bool:
    version = str(value.get("openapi") or value.get("swagger") or "")
    return version.startswith(("2.", "3.")) and isinstance(value.get("paths"), Mapping)


def _kind(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"a {type(value).__name__}"
    return (
        "an Arazzo document" if "arazzo" in value else "an object without openapi, or without paths"
    )
