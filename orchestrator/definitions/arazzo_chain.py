"""The steps of a workflow as one chain: those of the workflows that it calls stand between its own.

A step that calls a workflow becomes a local step that makes its inputs, its steps, and a local step
that gives its outputs. Workflows in `dependsOn` come first in the same way. Workflows that only an
action leads to stand behind the last step, each once for everybody who gives it the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from orchestrator.core.plan import Compensation, PlanStep
from orchestrator.definitions.actions import INPUTS_OF
from orchestrator.definitions.arazzo_actions import ActionReader, StepActions
from orchestrator.definitions.arazzo_blocks import Block, Branch, Entry, entries_of
from orchestrator.definitions.arazzo_calling import (
    arguments_of,
    enter,
    inner_scope,
    inputs_of_the_same_name,
    returning,
)
from orchestrator.definitions.arazzo_calls import (
    CALL_FIELDS,
    NOT_YET,
    CallReader,
    Context,
    Origin,
)
from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.arazzo_parts import identifier, resolved
from orchestrator.definitions.arazzo_steps import Origins, StepCalls
from orchestrator.definitions.arazzo_values import is_1_1
from orchestrator.definitions.blocks import block_step, head_id, head_step
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.validation import MAX_STEPS, Part

_STEP = CALL_FIELDS | {
    "stepId", "workflowId", "onSuccess", "onFailure", "dependsOn", "x-compensation", "x-pivot",
    "x-idempotency", "x-verify", "x-undoes", "x-start-within",
}  # fmt: skip
_CALLING_STEP = {
    "stepId", "workflowId", "description", "parameters", "successCriteria", "outputs", "onSuccess",
    "onFailure", "dependsOn",
}  # fmt: skip
_CHILD_STEP = _CALLING_STEP | {"x-child", "x-compensation", "x-pivot"}
_MAP_STEP = {
    "stepId", "workflowId", "description", "parameters", "outputs", "dependsOn", "x-each",
    "x-compensation",
}  # fmt: skip
_NOT_OF_A_MAP = {
    "successCriteria": "no successCriteria: maxFailures says when it has failed",
    "onSuccess": "no onSuccess: the next step follows",
    "onFailure": "no onFailure: where too many items fail, the run turns back",
    "x-pivot": "no x-pivot: items that succeeded are undone where others fail",
    "x-child": "either x-child, for one run, or x-each",
}
_NOT_OF_A_CALL = {
    "x-compensation": "no x-compensation: the steps of the called workflow have their own",
    "x-pivot": "no x-pivot: a step of the called workflow may be one",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A workflow of a document."""

    name: str
    at: Cursor
    context: Context  # with the parameters for all its steps
    schema: Mapping[str, Any]  # of its inputs
    find: Callable[[Cursor], Found | None]  # the workflow that a workflowId in it names, or noted

    def is_same(self, other: Found) -> bool:
        """Whether both stand at one place of one document."""
        mine, its = self.at, other.at
        return mine.document is its.document and mine.path == its.path


@dataclass(frozen=True, slots=True)
class Frame:
    """A workflow where it is called. `called` names it and those that led there."""

    found: Found
    called: tuple[Found, ...]
    scope: str = ""
    returns: str | None = None
    outer: tuple[Sequence[Mapping[str, Any]], ...] = ()  # failure actions of those that call it


class ChildReader(Protocol):
    """Reads a step that begins a run of another workflow."""

    def read(
        self, at: Cursor, found: Found, step_id: str, label: str, actions: StepActions, frame: Frame
    ) -> PlanStep:
        """The step, with what undoes it unless the document says so itself."""


class MapReader(Protocol):
    """Reads a step that begins a run of another workflow for each of many items."""

    def read(self, at: Cursor, found: Found, step_id: str, label: str, frame: Frame) -> PlanStep:
        """The step, with what undoes it unless the document says so itself."""


@dataclass(slots=True)
class ChainReader:
    """Reads one workflow with all that it calls."""

    origins: Origins
    label: str
    children: ChildReader
    maps: MapReader
    steps: list[PlanStep] = field(default_factory=list)
    _blocks: dict[str, str] = field(default_factory=dict)  # id by what makes it the same one
    _pending: list[Callable[[], None]] = field(default_factory=list)

    def read(self, found: Found) -> tuple[PlanStep, ...]:
        """All steps; those behind one that is marked as the last are reached by actions alone."""
        self._frame(Frame(found, (found,)))
        while self._pending and self.steps and len(self.steps) <= MAX_STEPS:
            self.steps[-1] = replace(self.steps[-1], last=True)
            self._pending.pop(0)()
        return tuple(self.steps)

    # --- a workflow -------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        at = frame.found.at
        for item in at.items("dependsOn"):
            self._before(item, frame)
        items = [item for item in at.items("steps") if item.is_object()]
        if at.has("x-parallel") and len(frame.called) > 1:
            at.child("x-parallel", at.value["x-parallel"]).bad(
                "none in a workflow that is called without x-child: its steps become steps of"
                " another one", found=f"blocks in {frame.found.name}",
            )  # fmt: skip
            self._entries(items, frame, ())
        else:
            self._entries(entries_of(at, items), frame, ())

    def _entries(
        self, entries: Sequence[Entry], frame: Frame, before: Sequence[Cursor], *,
        in_branch: bool = False,
    ) -> None:  # fmt: skip
        """A chain of steps and blocks; `before`: the steps that stand before all of them."""
        items = [entry for entry in entries if not isinstance(entry, Block)]
        reader = self._action_reader(frame, items, in_branch=in_branch)
        earlier = list(before)
        for entry in entries:
            if isinstance(entry, Block):
                self._parallel(entry, frame, tuple(earlier))
                earlier += entry.items()
            else:
                self._item(entry, frame, reader, earlier)
                earlier.append(entry)

    def _item(
        self, item: Cursor, frame: Frame, reader: ActionReader, earlier: list[Cursor]
    ) -> None:
        own = _STEP | {"timeout"} if is_1_1(item) else _STEP
        item.only(_fields(item, own), _refused(item))
        self._depends(item, earlier)
        if item.has("x-each") and item.has("workflowId"):
            self._map(item, frame)
        elif item.has("x-child") and item.has("workflowId"):
            self._child(item, frame, reader)
        elif item.has("workflowId"):
            self._calling(item, frame, reader)
        else:
            self._step(item, frame, reader)

    def _parallel(self, block: Block, frame: Frame, before: tuple[Cursor, ...]) -> None:
        """A block in its place; its branches stand behind the last step."""
        names = [branch.name for branch in block.branches]
        self._at(block.at)
        self.steps.append(block_step(block.id, f"{self.label}.{block.id}", names, block.fail))
        for branch in block.branches:
            self._pending.append(partial(self._branch, block, branch, frame, before))

    def _branch(
        self, block: Block, branch: Branch, frame: Frame, before: tuple[Cursor, ...]
    ) -> None:
        self._at(branch.at)
        label = f"{self.label}.{head_id(block.id, branch.name)}"
        self.steps.append(head_step(block.id, branch.name, label))
        self._entries(branch.entries, frame, before, in_branch=True)

    def _before(self, item: Cursor, frame: Frame) -> None:
        """A workflow that must have run before; it gets the inputs of the same name."""
        found = self._found(item, frame)
        if found is None:
            return
        step_id = f"{frame.scope}{workflow_id(found.name)}"
        given = inputs_of_the_same_name(frame.found.schema, found.schema)
        self._inline(item, found, frame, step_id, given, StepActions(outer=frame.outer))

    def _action_reader(self, frame: Frame, items: list[Cursor], *, in_branch: bool) -> ActionReader:
        found = frame.found
        ids = [str(item.value.get("stepId")) for item in items]

        def block(at: Cursor, name: Any) -> str | None:
            if in_branch:
                at.bad("no workflowId: an action leads to a step of its branch", found=str(name))
                return None
            return self._block(at, at.child("workflowId", name), frame)

        return ActionReader(
            components=found.context.components, success=_shared(found, "successActions"),
            failure=_shared(found, "failureActions"), scope=frame.scope, steps=frozenset(ids),
            workflow="" if in_branch else found.name, returns=frame.returns, block=block,
            begin=frame.scope + (ids[0] if ids else ""),
        )  # fmt: skip

    def _depends(self, item: Cursor, before: list[Cursor]) -> None:
        """Of a step: those that it depends on stand before it."""
        known = [str(one.value.get("stepId")) for one in before]
        for name in item.items("dependsOn"):
            if str(name.value).removeprefix("$steps.") not in known:
                earlier = ", ".join(known) or "there is none"
                name.bad(f"a step that stands before this one: {earlier}")

    # --- steps ------------------------------------------------------------------------------------

    def _step(self, at: Cursor, frame: Frame, reader: ActionReader) -> None:
        index = self._at(at)
        step_id = frame.scope + identifier(at, "stepId")
        label = f"{self.label}.{step_id}"
        calls = StepCalls(frame.found.context, self.origins)
        actions = replace(reader.read(at, step_id, is_call=False), outer=frame.outer)
        compensation, reason = calls.compensation(at, index, f"{label}.undo")
        call = calls.call(at, index, Part.FORWARD, label, actions)
        start_within = at.number("x-start-within", least=0.001)
        self.steps.append(
            PlanStep(
                id=step_id, call=replace(call, start_within_seconds=start_within),
                pivot=at.flag("x-pivot"), scope=frame.scope,
                undoes=self._undoes(at, frame, compensation),
                compensation=compensation, no_compensation_reason=reason,
            )
        )  # fmt: skip

    def _undoes(
        self, at: Cursor, frame: Frame, compensation: Compensation | None
    ) -> tuple[str, ...]:
        given = at.items("x-undoes")
        if given and compensation is not None:
            at.bad("no x-compensation: what undoes is not undone", found="x-undoes with one")
        known = {step.id for step in self.steps}
        names = []
        for item in given:
            name = f"{frame.scope}{item.value}"
            if name not in known:
                item.bad("a step that stands before this one, by its stepId")
            names.append(name)
        return tuple(names)

    def _calling(self, at: Cursor, frame: Frame, reader: ActionReader) -> None:
        item = at.get("workflowId")
        found = None if item is None else self._found(item, frame)
        step_id = frame.scope + identifier(at, "stepId")
        actions = replace(reader.read(at, step_id, is_call=True), outer=frame.outer)
        if found is None:
            return
        components = frame.found.context.components
        given = arguments_of(at, components, found.name, found.schema)
        self._inline(at, found, frame, step_id, given, actions)

    def _child(self, at: Cursor, frame: Frame, reader: ActionReader) -> None:
        """A run of its own."""
        index, step_id = self._at(at), frame.scope + identifier(at, "stepId")
        actions = replace(reader.read(at, step_id, is_call=False), outer=frame.outer)
        given = at.child("workflowId", at.value["workflowId"])
        found = self._found(given, frame)
        if found is None:
            return
        step = self.children.read(at, found, step_id, f"{self.label}.{step_id}", actions, frame)
        self._begins_runs(at, index, step, frame)

    def _map(self, at: Cursor, frame: Frame) -> None:
        """A run of its own for each of many items."""
        index, step_id = self._at(at), frame.scope + identifier(at, "stepId")
        found = self._found(at.child("workflowId", at.value["workflowId"]), frame)
        if found is None:
            return
        step = self.maps.read(at, found, step_id, f"{self.label}.{step_id}", frame)
        self._begins_runs(at, index, step, frame)

    def _begins_runs(self, at: Cursor, index: int, step: PlanStep, frame: Frame) -> None:
        calls = StepCalls(frame.found.context, self.origins)
        if at.has("x-compensation"):
            compensation, reason = calls.compensation(at, index, f"{step.call.label}.undo")
            step = replace(step, compensation=compensation, no_compensation_reason=reason)
        self.origins.calls[index, Part.FORWARD, 0] = Origin(at.path, body=(*at.path, "parameters"))
        self.steps.append(step)

    def _block(self, at: Cursor, item: Cursor, frame: Frame) -> str | None:
        """The id of the steps of a workflow that an action leads to, behind the last step."""
        found = self._found(item, frame)
        if found is None:
            return None
        if at.has("parameters"):
            given = arguments_of(at, frame.found.context.components, found.name, found.schema)
        else:
            given = inputs_of_the_same_name(frame.found.schema, found.schema)
        key = json.dumps([frame.scope, found.name, given], sort_keys=True, default=str)
        if key not in self._blocks:
            same = sum(
                1 for known in self._blocks.values() if known.startswith(f"{frame.scope}to:")
            )
            step_id = f"{frame.scope}to:{found.name}" + (f":{same + 1}" if same else "")
            self._blocks[key] = step_id
            self._pending.append(
                lambda: self._inline(item, found, frame, step_id, given, StepActions())
            )
        return self._blocks[key]

    def _inline(
        self, at: Cursor, found: Found, frame: Frame, step_id: str,
        given: Mapping[str, Any], actions: StepActions,
    ) -> None:  # fmt: skip
        """A called workflow: its inputs, its steps, its outputs."""
        if len(self.steps) > MAX_STEPS:
            return  # noted by whoever counts them
        label = f"{self.label}.{step_id}"
        self._at(at)
        self.steps.append(enter(
            step_id, frame.scope, label + INPUTS_OF, workflow=found.name, arguments=given,
            schema=found.schema, actions=actions,
        ))  # fmt: skip
        outer = (actions.failure, *actions.outer)
        scope = frame.scope + inner_scope(step_id, frame.scope)
        self._frame(Frame(found, (*frame.called, found), scope, step_id, outer))
        self._at(at)
        own = {}
        if at.has("stepId"):
            own = CallReader(_named_outputs(at), found.context, label).outputs("outputs")
        criteria = conditions(at, "successCriteria") if at.has("stepId") else []
        self.steps.append(returning(
            step_id, frame.scope, label, criteria=criteria, outputs=own, actions=actions,
            result=CallReader(found.at, found.context, label).outputs("outputs"),
        ))  # fmt: skip

    def _found(self, item: Cursor, frame: Frame) -> Found | None:
        found = frame.found.find(item)
        if found is not None and any(one.is_same(found) for one in frame.called):
            way = " → ".join(one.name for one in (*frame.called, found))
            item.bad("a workflow that does not lead back to itself", found=way)
            return None
        return found

    def _at(self, at: Cursor) -> int:
        """Note where the next step stands in the document; its index."""
        self.origins.steps.append(at)
        return len(self.steps)


def _fields(item: Cursor, own: Set[str]) -> Set[str]:
    if not item.has("workflowId"):
        return own
    if item.has("x-each"):
        return _MAP_STEP
    return _CHILD_STEP if item.has("x-child") else _CALLING_STEP


def _named_outputs(at: Cursor) -> Cursor:
    """The calling step with `$outputs.NAME`, the called workflow's, as outputs of the step."""
    outputs = at.value.get("outputs")
    if not isinstance(outputs, Mapping):
        return at
    prefix = f"$steps.{at.value.get('stepId')}.outputs."
    named = {
        key: prefix + value.removeprefix("$outputs.")
        if isinstance(value, str) and value.startswith("$outputs.") else value
        for key, value in outputs.items()
    }  # fmt: skip
    return Cursor(at.document, at.findings, {**at.value, "outputs": named}, at.path)


def workflow_id(name: str) -> str:
    """The step id of a workflow that another one depends on."""
    return f"workflow:{name}"


def _refused(item: Cursor) -> Mapping[str, str]:
    refused = NOT_YET | {
        "x-child": "a step with a workflowId: it begins a run of that workflow",
        "x-each": "a step with a workflowId: it begins a run of that workflow for each item",
    }
    if item.has("x-each") and item.has("workflowId"):
        return _NOT_OF_A_MAP | NOT_YET
    return _NOT_OF_A_CALL | NOT_YET if item.has("workflowId") else refused


def _shared(found: Found, name: str) -> tuple[Cursor, ...]:
    items = (resolved(item, found.context.components) for item in found.at.items(name))
    return tuple(item for item in items if item is not None and item.is_object())
