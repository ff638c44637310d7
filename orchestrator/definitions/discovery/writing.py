"""Derived compensations put into the text of a workflow document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.acceptance import DERIVED, digest_of, is_accepted
from orchestrator.definitions.discovery.deriving import CannotDerive, Derived, derive
from orchestrator.definitions.discovery.steps import Steps
from orchestrator.definitions.document import Document
from orchestrator.definitions.editing import CannotEdit, Editor
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.problems import Path as JsonPath


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of the steps of a document."""

    text: str
    written: tuple[str, ...]  # workflow.step
    left: Mapping[str, str]  # workflow.step, and why nothing was written


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A derived compensation that waits for a person."""

    workflow: str
    step: str
    path: JsonPath  # of the x-compensation
    compensation: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`workflow.step`."""
        return f"{self.workflow}.{self.step}"


def write(document: Document, steps: Steps) -> Written:
    """Put a compensation into every step that has none and for which one can be derived."""
    editor = Editor(document.text)
    written, left = [], {}
    for found in steps.proposals:
        name = f"{found.workflow}.{found.step}"
        if found.has_own:
            left[name] = "it says itself what undoes it"
            continue
        try:
            derived = derive(found, steps.survey)
        except CannotDerive as reason:
            left[name] = str(reason)
            continue
        before = editor.changes()
        try:
            _put(editor, found.at.path, derived, has_outputs=found.at.has("outputs"))
        except CannotEdit as reason:
            editor.back_to(before)
            left[name] = f"it has to be written by hand: {reason}"
            continue
        written.append(name)
    return Written(text=editor.text, written=tuple(written), left=left)


def _put(editor: Editor, path: JsonPath, derived: Derived, *, has_outputs: bool) -> None:
    if derived.outputs and not has_outputs:
        editor.put(path, "outputs", derived.outputs)
    else:
        for name, expression in derived.outputs.items():
            editor.put((*path, "outputs"), name, expression)
    editor.put(path, "x-compensation", derived.compensation)
    if derived.read_step is not None:
        *above, index = path
        editor.insert(tuple(above), int(index), derived.read_step)


def pending(document: Document) -> list[Pending]:
    """Derived compensations that nobody has accepted as they stand."""
    found = []
    for workflow, step, path, compensation in _compensations(document.value):
        if not is_accepted(compensation):
            found.append(
                Pending(workflow=workflow, step=step, path=path, compensation=compensation)
            )
    return found


def accept(document: Document, what: Sequence[Pending], *, by: str, at: str) -> str:
    """The document in which these are accepted. `at`: RFC 3339. Raises InvalidDefinition."""
    editor, findings = Editor(document.text), Findings()
    for each in what:
        digest = digest_of(each.compensation)
        accepted = {"by": by, "at": at, "digest": digest}
        try:
            editor.put((*each.path, DERIVED), "accepted", accepted)
        except CannotEdit as reason:
            wanted = "a compensation of the step's own"
            findings.add(document.place(each.path), str(reason), wanted)
    findings.raise_if_any(f"{document.name} cannot say what is accepted")
    return editor.text


def _compensations(value: Any) -> list[tuple[str, str, JsonPath, Mapping[str, Any]]]:
    found = []
    workflows = value.get("workflows") if isinstance(value, Mapping) else None
    for number, workflow in enumerate(workflows if isinstance(workflows, list) else ()):
        steps = workflow.get("steps") if isinstance(workflow, Mapping) else None
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            given = step.get("x-compensation") if isinstance(step, Mapping) else None
            path: JsonPath = ("workflows", number, "steps", index, "x-compensation")
            cases = enumerate(given) if isinstance(given, list) else ()
            for at, own in [(path, given), *(((*path, case), one) for case, one in cases)]:
                if isinstance(own, Mapping) and DERIVED in own:
                    ids = str(workflow.get("workflowId")), str(step.get("stepId"))
                    found.append((*ids, at, own))
    return found
