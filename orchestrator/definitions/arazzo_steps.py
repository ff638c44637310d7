"""The calls of a step: what it does, what undoes it, what tells whether either happened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.core.plan import Call, Compensation, CompensationKind, Effects
from orchestrator.definitions.acceptance import DERIVED, check_accepted
from orchestrator.definitions.arazzo_actions import StepActions
from orchestrator.definitions.arazzo_calls import (
    CALL_FIELDS,
    NOT_YET,
    CallReader,
    Context,
    Origin,
)
from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.arazzo_parts import resolved
from orchestrator.definitions.cases import Case, compensation_of_cases
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.problems import Path
from orchestrator.definitions.validation import Part

_COMPENSATION = CALL_FIELDS | {
    "onFailure", "x-idempotency", "x-verify", "onlyIf", "kind", "stepId", DERIVED,
}  # fmt: skip


@dataclass(slots=True)
class Origins:
    """Where the parts of a plan stand in its document."""

    workflow: Cursor
    steps: list[Cursor] = field(default_factory=list)  # by index in the plan; of any document
    calls: dict[tuple[int, Part, int], Origin] = field(default_factory=dict)
    """By step, which of its calls, and which of several that undo it."""

    def place(self, step: int | None, part: Part, path: Path) -> str:
        """The place of a part of the plan, for a message."""
        above = self.workflow if step is None else self.steps[step]
        number = 0
        if path[:1] == ("otherwise",):
            number, path = 1 + int(path[1]), path[2:]
        origin = None if step is None else self.calls.get((step, part, number))
        if origin is not None:
            return above.document.place(origin.of(path))
        return above.document.place((*above.path, *path))


@dataclass(frozen=True, slots=True)
class StepCalls:
    """Reads the calls of a workflow's steps."""

    context: Context
    origins: Origins

    def call(
        self, at: Cursor, index: int, part: Part, label: str,
        actions: StepActions | None = None, number: int = 0,
    ) -> Call:  # fmt: skip
        """A call with its verification; one that could not be read is empty, and noted.

        `number`: which of several that undo a step.
        """
        read = CallReader(at, self.context, label, actions).read()
        if read is None:
            return _UNREAD
        call, self.origins.calls[index, part, number] = read
        if call.is_wait and part is not Part.FORWARD:
            at.bad("an operation or a task: an undo cannot wait for an answer", found="a wait")
        verify = self._verify(at, index, part, call, number)
        return call if verify is None else replace(call, verify=verify)

    def _verify(self, at: Cursor, index: int, part: Part, call: Call, number: int) -> Call | None:
        item = at.get("x-verify")
        if item is None or not item.is_object():
            return None
        item.only(CALL_FIELDS, NOT_YET)
        read = CallReader(item, self.context, f"{call.label}.verify").read()
        if read is None:
            return None
        verify, origin = read
        if verify.is_wait:
            item.bad("an operation or a task: it is asked at once", found="a wait")
        self.origins.calls[index, part.verification, number] = origin
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

    def compensation(
        self, step: Cursor, index: int, label: str
    ) -> tuple[Compensation | None, str | None]:
        """What undoes a step, or why nothing does; a list has a case for each way it may go."""
        given = step.get("x-compensation")
        if given is not None and isinstance(given.value, list):
            return self._cases(step, index, label), None
        at = None if given is None else resolved(given, self.context.components)
        if at is None or not at.is_object():
            return None, None
        check_accepted(at)
        if at.has("none"):
            at.only({"none", DERIVED})
            return None, at.text("none", required=True)
        call, kind = self._undo(at, index, label, 0)
        return Compensation(call=call, kind=kind), None

    def _undo(
        self, at: Cursor, index: int, label: str, number: int
    ) -> tuple[Call, CompensationKind]:
        at.only(_COMPENSATION, {**NOT_YET, "outputs": "no outputs: nothing follows an undo"})
        kind = at.choice("kind", tuple(CompensationKind)) or CompensationKind.REVERSE
        only_if = conditions(at, "onlyIf")
        call = self.call(at, index, Part.UNDO, label, number=number)
        if only_if:
            call = replace(call, template={**call.template, "onlyIf": only_if})
        return call, CompensationKind(kind)

    def _cases(self, step: Cursor, index: int, label: str) -> Compensation | None:
        found: list[Case] = []
        for item in step.items("x-compensation"):
            at = resolved(item, self.context.components)
            if at is None or not at.is_object():
                continue
            check_accepted(at)
            if at.has("none"):
                call, kind = self._nothing(at, index, label, len(found)), CompensationKind.REVERSE
            else:
                call, kind = self._undo(at, index, label, len(found))
            found.append((at, call, kind))
        if not found or found[0][1].template.get("kind") == "nothing":
            step.bad(
                "cases of which the first undoes something: {operationId: …, onlyIf: …}; "
                "{none: reason, onlyIf: …} after it", found="an x-compensation without one",
            )  # fmt: skip
            return None
        return compensation_of_cases(found)

    def _nothing(self, at: Cursor, index: int, label: str, number: int) -> Call:
        """A case in which nothing is to be undone."""
        at.only({"none", "onlyIf", DERIVED})
        reason, only_if = at.text("none", required=True), conditions(at, "onlyIf")
        self.origins.calls[index, Part.UNDO, number] = Origin(at.path)
        template = {"kind": "nothing", "nothing": reason or ""}
        return Call(
            label=label, api="", effects=Effects.NONE,
            template=template | ({"onlyIf": only_if} if only_if else {}),
        )  # fmt: skip


_UNREAD = Call(label="", api="", effects=Effects.NONE, template={"kind": "unread"})
"""Stands for a call with problems of its own; validation passes it over."""
