"""What APIs say about the operations that a document calls, for those who look for a workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.sources import Sources, Target
from orchestrator.definitions.tasks import TaskRegistry

_MOST_CHARACTERS = 4000
"""Of a workflow; a hundred steps with a summary each."""


def said_of_operations(
    document: Document, *, folder: Path, tasks: TaskRegistry
) -> Mapping[str, str]:
    """Summaries and tags of the operations of each workflow, by its id.

    For a document that validates: what cannot be read says nothing here.
    """
    root = Cursor(document, Findings(), document.value)
    sources = Sources.of(root, folder=folder, tasks=tasks)
    return {
        str(each.value.get("workflowId")): _said(each, sources)
        for each in root.items("workflows")
        if each.is_object()
    }


def _said(workflow: Cursor, sources: Sources) -> str:
    parts = (part for step in workflow.items("steps") for part in _parts(step, sources))
    return " ".join(dict.fromkeys(parts))[:_MOST_CHARACTERS]


def _parts(step: Cursor, sources: Sources) -> Iterator[str]:
    target = _target(step, sources)
    source = None if target is None else sources.document(target.api)
    if target is None or source is None or target.operation is None:
        return
    definition = source.definition(target.operation)
    tags = definition.get("tags")
    for text in (definition.get("summary"), *(tags if isinstance(tags, list) else ())):
        if isinstance(text, str) and text:
            yield text


def _target(step: Cursor, sources: Sources) -> Target | None:
    if (by_id := step.get("operationId")) is not None:
        return sources.by_id(by_id)
    by_path = step.get("operationPath")
    return None if by_path is None else sources.by_path(by_path)
