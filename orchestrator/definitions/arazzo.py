"""Arazzo documents (1.0 and 1.1, the part described in the guide) as plans.

Everything that is not supported is refused with its place, never passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.core.plan import Call, Compensation, CompensationKind, Effects, Plan, PlanStep
from orchestrator.definitions.arazzo_calls import (
    CALL_FIELDS,
    NOT_YET,
    CallReader,
    Context,
    Origin,
)
from orchestrator.definitions.arazzo_parts import conditions, resolved
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.inputs import schema_problems
from orchestrator.definitions.problems import Findings, pointer
from orchestrator.definitions.problems import Path as JsonPath
from orchestrator.definitions.sources import Sources
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.definitions.validation import Part, Place

ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MAX_REFERENCES = 50

_ROOT = {"arazzo", "info", "sourceDescriptions", "workflows", "components", "$self", "$schema"}
_WORKFLOW = {
    "workflowId", "summary", "description", "inputs", "steps", "outputs", "parameters",
    "failureActions", "x-deadline", "x-lane",
    "x-owner", "x-rehearsed", "x-slo",  # read by `workflows check`
}  # fmt: skip
_WORKFLOW_NOT_YET = {
    "dependsOn": "no dependsOn: submit the other workflow first",
    "successActions": "no successActions: the next step follows, or the workflow ends",
}
_STEP = CALL_FIELDS | {
    "stepId", "onFailure", "x-compensation", "x-pivot", "x-idempotency", "x-verify",
}  # fmt: skip
_COMPENSATION = CALL_FIELDS | {"onFailure", "x-idempotency", "x-verify", "onlyIf", "kind", "stepId"}


@dataclass(slots=True)
class Origins:
    """Where the parts of a plan stand in its document."""

    document: Document
    workflow: JsonPath
    calls: dict[tuple[int, Part], Origin] = field(default_factory=dict)

    def place(self, step: int | None, part: Part, path: JsonPath) -> str:
        """The place of a part of the plan, for a message."""
        origin = None if step is None else self.calls.get((step, part))
        if origin is not None:
            return self.document.place(origin.of(path))
        below = ("steps", step, *path) if step is not None else path
        return self.document.place((*self.workflow, *below))


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
    return [_WorkflowReader(item, root.get("components"), sources).read() for item in wanted]


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

    def __init__(self, at: Cursor, components: Cursor | None, sources: Sources) -> None:
        self._at = at
        self._components = components
        self._context = Context(
            sources, components, self._shared("parameters"), self._shared("failureActions")
        )
        self._origins = Origins(at.document, at.path)

    def read(self) -> ReadWorkflow:
        at = self._at
        at.only(_WORKFLOW, _WORKFLOW_NOT_YET)
        name = _id(at, "workflowId")
        items = [item for item in at.items("steps") if item.is_object()]
        _check_unique(items, "stepId")
        reader = CallReader(at, self._context, name)
        plan = Plan(
            workflow=name, title=at.text("summary") or "", inputs_schema=self._inputs(),
            steps=tuple(self._step(item, index, name) for index, item in enumerate(items)),
            outputs=reader.outputs("outputs"), lane=self._lane(),
            deadline_seconds=at.number("x-deadline", least=0.001),
        )  # fmt: skip
        return ReadWorkflow(plan, self._origins.place, pointer(at.path))

    def _shared(self, name: str) -> tuple[Cursor, ...]:
        items = (resolved(item, self._components) for item in self._at.items(name))
        return tuple(item for item in items if item is not None and item.is_object())

    def _lane(self) -> str:
        lane = self._at.text("x-lane") or "default"
        if not LANE.fullmatch(lane):
            self._at.child("x-lane", lane).bad("a name of small letters, digits, - and _")
        return lane

    def _inputs(self) -> Mapping[str, Any]:
        at = self._at.get("inputs")
        if at is None:
            return {}
        schema = _with_components(at.value, self._components)
        for path, found, wanted in schema_problems(schema):
            at.findings.add(at.document.place((*at.path, *path)), found, wanted)
        return schema if isinstance(schema, Mapping) else {}

    # --- steps ------------------------------------------------------------------------------------

    def _step(self, at: Cursor, index: int, workflow: str) -> PlanStep:
        at.only(_STEP, NOT_YET)
        step_id = _id(at, "stepId")
        label = f"{workflow}.{step_id}"
        call = self._call(at, index, Part.FORWARD, label)
        compensation, reason = self._compensation(at, index, f"{label}.undo")
        return PlanStep(
            id=step_id, call=call, compensation=compensation, no_compensation_reason=reason,
            pivot=at.flag("x-pivot"),
        )  # fmt: skip

    def _call(self, at: Cursor, index: int, part: Part, label: str) -> Call:
        """A call with its verification; one that could not be read is empty, and noted."""
        read = CallReader(at, self._context, label).read()
        if read is None:
            return _UNREAD
        call, self._origins.calls[index, part] = read
        verify = self._verify(at, index, part, call)
        return call if verify is None else replace(call, verify=verify)

    def _verify(self, at: Cursor, index: int, part: Part, call: Call) -> Call | None:
        item = at.get("x-verify")
        if item is None or not item.is_object():
            return None
        item.only(CALL_FIELDS, NOT_YET)
        read = CallReader(item, self._context, f"{call.label}.verify").read()
        if read is None:
            return None
        verify, origin = read
        self._origins.calls[index, part.verification] = origin
        if verify.effects is not Effects.NONE:
            item.bad(
                "an operation that changes nothing: GET, HEAD, or x-effects: none",
                found=str(item.value.get("operationId") or item.value.get("operationPath")),
            )
        step_outputs = call.template.get("outputs", {})
        if "outputs" not in verify.template and step_outputs:
            verify = replace(verify, template={**verify.template, "outputs": step_outputs})
        missing = set(step_outputs) - set(verify.template.get("outputs", {}))
        if missing:
            item.bad(f"the step's outputs here too: {', '.join(sorted(missing))}", found="not all")
        return verify

    def _compensation(
        self, step: Cursor, index: int, label: str
    ) -> tuple[Compensation | None, str | None]:
        given = step.get("x-compensation")
        at = None if given is None else resolved(given, self._components)
        if at is None or not at.is_object():
            return None, None
        if at.has("none"):
            at.only({"none"})
            return None, at.text("none", required=True)
        at.only(_COMPENSATION, {**NOT_YET, "outputs": "no outputs: nothing follows an undo"})
        kind = at.choice("kind", tuple(CompensationKind)) or CompensationKind.REVERSE
        only_if = conditions(at, "onlyIf")
        call = self._call(at, index, Part.UNDO, label)
        if only_if:
            call = replace(call, template={**call.template, "onlyIf": only_if})
        return Compensation(call=call, kind=CompensationKind(kind)), None


_UNREAD = Call(label="", api="", effects=Effects.NONE, template={"kind": "unread"})
"""Stands for a call with problems of its own; validation passes it over."""


def _id(at: Cursor, name: str) -> str:
    value = at.text(name, required=True)
    if value is not None and not ID.fullmatch(value):
        at.child(name, value).bad("letters, digits, - and _, at most 100")
    return value or ""


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
