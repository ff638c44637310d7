"""Arazzo documents (1.0 and 1.1, the part described in the guide) as plans.

Everything that is not supported is refused with its place, never passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.plan import MAX_VISITS, Plan
from orchestrator.definitions.actions import lead_elsewhere
from orchestrator.definitions.arazzo_calls import CallReader, Context
from orchestrator.definitions.arazzo_chain import ChainReader, Found
from orchestrator.definitions.arazzo_parts import identifier, resolved
from orchestrator.definitions.arazzo_steps import Origins
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.inputs import schema_problems
from orchestrator.definitions.problems import Findings, pointer
from orchestrator.definitions.sources import Sources
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.definitions.validation import Place

LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MAX_REFERENCES = 50

_ROOT = {"arazzo", "info", "sourceDescriptions", "workflows", "components", "$self", "$schema"}
_WORKFLOW = {
    "workflowId", "summary", "description", "inputs", "steps", "outputs", "parameters",
    "successActions", "failureActions", "dependsOn", "x-deadline", "x-lane", "x-max-visits",
    "x-owner", "x-rehearsed", "x-slo",  # read by `workflows check`
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadWorkflow:
    """A plan as far as it could be read, with a way to name its parts."""

    plan: Plan
    place: Place
    pointer: str  # where the workflow stands


def read_workflows(
    document: Document,
    *,
    folder: Path,
    tasks: TaskRegistry,
    findings: Findings,
    workflow_id: str | None = None,
) -> list[ReadWorkflow]:
    """All workflows of a document, or the one asked for. Problems go to `findings`."""
    root = Cursor(document, findings, document.value)
    if not root.is_object():
        return []
    root.only(_ROOT)
    _check_version(root)
    sources = Sources.of(root, folder=folder, tasks=tasks)
    items = [item for item in root.items("workflows") if item.is_object()]
    if not items:
        root.bad("the field workflows, with at least one workflow", found="no workflow")
    _check_unique(items, "workflowId")
    wanted = [i for i in items if workflow_id in (None, i.value.get("workflowId"))]
    if workflow_id is not None and not wanted:
        names = ", ".join(str(item.value.get("workflowId")) for item in items)
        root.bad(f"one of: {names}", found=f"no workflow {workflow_id}")
    return [_WorkflowReader(item, root, sources).read() for item in wanted]


def _check_version(root: Cursor) -> None:
    version = root.text("arazzo", required=True)
    if version is not None and not re.fullmatch(r"1\.[01]\.\d+", version):
        root.child("arazzo", version).bad("version 1.0.x or 1.1.x")


def _check_unique(items: list[Cursor], name: str) -> None:
    seen: dict[Any, Cursor] = {}
    for item in items:
        value = item.value.get(name)
        if isinstance(value, str) and seen.setdefault(value, item) is not item:
            item.child(name, value).bad(f"a {name} that is not used at {seen[value].place}")


class _WorkflowReader:
    """Reads one workflow."""

    def __init__(self, at: Cursor, root: Cursor, sources: Sources) -> None:
        self._at, self._root, self._sources = at, root, sources
        self._components = root.get("components")

    def read(self) -> ReadWorkflow:
        at = self._at
        at.only(_WORKFLOW)
        found = self._found(at)
        origins = Origins(at.document, at.path)
        steps = ChainReader(self._named, origins, found.name).read(found)
        plan = Plan(
            workflow=found.name, title=at.text("summary") or "", inputs_schema=found.schema,
            steps=steps, jumps=any(lead_elsewhere(step.call.template) for step in steps),
            outputs=CallReader(at, found.context, found.name).outputs("outputs"),
            lane=self._lane(), deadline_seconds=at.number("x-deadline", least=0.001),
            max_visits=self._max_visits(),
        )  # fmt: skip
        return ReadWorkflow(plan, origins.place, pointer(at.path))

    def _found(self, at: Cursor) -> Found:
        items = [item for item in at.items("steps") if item.is_object()]
        _check_unique(items, "stepId")
        resolved_ones = (resolved(item, self._components) for item in at.items("parameters"))
        shared = tuple(item for item in resolved_ones if item is not None and item.is_object())
        return Found(
            name=identifier(at, "workflowId"), at=at, schema=self._inputs(at),
            context=Context(self._sources, self._components, shared),
        )  # fmt: skip

    def _named(self, item: Cursor) -> Found | None:
        """The workflow of this document that a workflowId names; noted when there is none."""
        items = [one for one in self._root.items("workflows") if isinstance(one.value, Mapping)]
        for one in items:
            if one.value.get("workflowId") == item.value:
                return self._found(one)
        known = ", ".join(str(one.value.get("workflowId")) for one in items)
        item.bad(f"a workflow of this document: {known}")
        return None

    def _lane(self) -> str:
        lane = self._at.text("x-lane") or "default"
        if not LANE.fullmatch(lane):
            self._at.child("x-lane", lane).bad("a name of small letters, digits, - and _")
        return lane

    def _max_visits(self) -> int:
        most = self._at.number("x-max-visits", least=1, whole=True)
        return MAX_VISITS if most is None else int(most)

    def _inputs(self, of: Cursor) -> Mapping[str, Any]:
        at = of.get("inputs")
        if at is None:
            return {}
        schema = _with_components(at.value, self._components)
        for path, found, wanted in schema_problems(schema):
            at.findings.add(at.document.place((*at.path, *path)), found, wanted)
        return schema if isinstance(schema, Mapping) else {}


def _with_components(schema: Any, components: Cursor | None, depth: int = 0) -> Any:
    """The schema with `#/components/inputs/…` written in; other references stay as they are."""
    if isinstance(schema, list):
        return [_with_components(item, components, depth) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    prefix = "#/components/inputs/"
    if isinstance(reference, str) and reference.startswith(prefix) and depth < MAX_REFERENCES:
        inputs = None if components is None else components.get("inputs")
        found = None if inputs is None else inputs.get(reference.removeprefix(prefix))
        if found is not None:
            return _with_components(found.value, components, depth + 1)
    return {key: _with_components(value, components, depth) for key, value in schema.items()}
