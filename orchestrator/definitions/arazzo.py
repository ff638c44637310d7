"""Arazzo documents (1.0 and 1.1, the part described in the guide) as plans.

Everything that is not supported is refused with its place, never passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from orchestrator.core.plan import MAX_VISITS, Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.definitions.actions import lead_elsewhere
from orchestrator.definitions.arazzo_calls import CallReader
from orchestrator.definitions.arazzo_chain import ChainReader, Found
from orchestrator.definitions.arazzo_children import Children
from orchestrator.definitions.arazzo_library import Library
from orchestrator.definitions.arazzo_maps import Maps
from orchestrator.definitions.arazzo_steps import Origins
from orchestrator.definitions.attributes import attribute_problems
from orchestrator.definitions.blocks import is_block
from orchestrator.definitions.children import forward_only
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.escalation_rules import escalation_of, escalation_problems
from orchestrator.definitions.four_eyes import rule_of, rule_problems
from orchestrator.definitions.giving import completed
from orchestrator.definitions.maps import is_map
from orchestrator.definitions.problems import Findings, pointer
from orchestrator.definitions.problems import Path as Inside
from orchestrator.definitions.slo_rules import slo_of, slo_problems
from orchestrator.definitions.spending import budget_problems, intent_problems
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.definitions.validation import Place, past_pivot

_Problems: TypeAlias = Callable[[Any, Mapping[str, Any]], Iterable[tuple[Inside, str, str]]]
LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")

_WORKFLOW = {
    "workflowId", "summary", "description", "inputs", "steps", "outputs", "parameters",
    "successActions", "failureActions", "dependsOn", "x-deadline", "x-lane", "x-max-visits",
    "x-attributes", "x-budget", "x-escalation", "x-four-eyes", "x-intent", "x-parallel", "x-slo",
    "x-owner", "x-rehearsed",  # read by `workflows check`
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadWorkflow:
    """A plan as far as it could be read, with a way to name its parts."""

    plan: Plan
    place: Place
    at: Cursor  # where the workflow stands
    folder: Path  # in which the sources of its document lie

    @property
    def pointer(self) -> str:
        """The same within its document."""
        return pointer(self.at.path)


@dataclass(frozen=True, slots=True)
class Read:
    """The workflows of a document, and what they were read from."""

    workflows: list[ReadWorkflow]
    documents: list[Document]  # this one, then those whose workflows it calls


def read_workflows(
    document: Document,
    *,
    folder: Path,
    tasks: TaskRegistry,
    findings: Findings,
    workflow_id: str | None = None,
) -> Read:
    """All workflows of a document, and behind them those of other documents of which their runs
    begin runs; or the one asked for. Problems go to `findings`."""
    root = Cursor(document, findings, document.value)
    if not root.is_object():
        return Read([], [])
    library = Library(root, folder=folder, tasks=tasks)
    known: _Known = {}
    items = library.items
    wanted = [i for i in items if workflow_id in (None, i.value.get("workflowId"))]
    if workflow_id is not None and not wanted:
        names = ", ".join(str(item.value.get("workflowId")) for item in items)
        root.bad(f"one of: {names}", found=f"no workflow {workflow_id}")
    read = [_WorkflowReader(item, library, known).read() for item in wanted]
    others = [each for each in known.values() if each and each.at.document is not document]
    if workflow_id is not None:  # it alone
        return Read(read, library.documents())
    _check_names(read, others)
    return Read([*read, *others], library.documents())


_Known: TypeAlias = dict[tuple[str, Inside], "ReadWorkflow | None"]
"""By document and place; None while one is read."""


def _check_names(read: list[ReadWorkflow], others: list[ReadWorkflow]) -> None:
    """They are published together, each under its own name."""
    taken = {each.plan.workflow for each in read}
    for each in others:
        if each.plan.workflow in taken:
            each.at.child("workflowId", each.plan.workflow).bad(
                "a name of its own: it is published together with those of"
                f" {read[0].at.document.name if read else 'this document'}",
                found=f"{each.plan.workflow}, which another workflow is called",
            )
        taken.add(each.plan.workflow)


class _WorkflowReader:
    """Reads one workflow."""

    def __init__(self, at: Cursor, library: Library, known: _Known) -> None:
        self._at, self._library, self._known = at, library, known

    def read(self) -> ReadWorkflow:
        at = self._at
        at.only(_WORKFLOW)
        found = self._library.found(at)
        origins = Origins(at)
        self._known[_key(at)] = None
        steps = ChainReader(origins, found.name, Children(self._plan_of), Maps(self._plan_of)).read(
            found
        )
        plan = Plan(
            workflow=found.name, title=at.text("summary") or "", inputs_schema=found.schema,
            steps=steps, jumps=any(lead_elsewhere(step.call.template) for step in steps),
            waits=any(step.call.is_wait for step in steps),
            children=any(step.call.is_child for step in steps),
            blocks=any(is_block(step.call) for step in steps),
            maps=any(is_map(step.call) for step in steps),
            outputs=CallReader(at, found.context, found.name).outputs("outputs"),
            lane=self._lane(), deadline_seconds=at.number("x-deadline", least=0.001),
            max_visits=self._max_visits(), four_eyes=self._four_eyes(found.schema),
            escalation=self._escalation(found.schema), slo=self._slo(),
            budget=self._declared("x-budget", budget_problems, found.schema),
            intent=self._declared("x-intent", intent_problems, found.schema),
        )  # fmt: skip
        plan = completed(replace(plan, attributes=self._attributes(plan)))
        if plan.children:
            plan = forward_only(plan, past_pivot(plan))
        read = ReadWorkflow(with_digest(plan), origins.place, at, self._library.folder)
        self._known[_key(at)] = read
        return read

    def _plan_of(self, found: Found) -> Plan | None:
        """The version that a child of this workflow is begun with; None: it leads back to it."""
        at = found.at
        if _key(at) not in self._known:
            _WorkflowReader(at, self._library.of(at.document), self._known).read()
        read = self._known[_key(at)]
        return None if read is None else read.plan

    def _lane(self) -> str:
        lane = self._at.text("x-lane") or "default"
        if not LANE.fullmatch(lane):
            self._at.child("x-lane", lane).bad("a name of small letters, digits, - and _")
        return lane

    def _four_eyes(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        at = self._at.get("x-four-eyes")
        if at is None:
            return {}
        return {} if _refused(at, rule_problems(at.value, schema)) else rule_of(at.value)

    def _escalation(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        at = self._at.get("x-escalation")
        if at is None or _refused(at, escalation_problems(at.value, schema)):
            return {}
        return escalation_of(at.value)

    def _declared(
        self, name: str, problems: _Problems, schema: Mapping[str, Any]
    ) -> dict[str, Any]:
        at = self._at.get(name)
        if at is None or _refused(at, problems(at.value, schema)):
            return {}
        return dict(at.value)

    def _slo(self) -> dict[str, Any]:
        at = self._at.get("x-slo")
        return {} if at is None or _refused(at, slo_problems(at.value)) else slo_of(at.value)

    def _attributes(self, plan: Plan) -> dict[str, Any]:
        at = self._at.get("x-attributes")
        if at is None or _refused(at, attribute_problems(at.value, plan)):
            return {}
        return dict(at.value)

    def _max_visits(self) -> int:
        most = self._at.number("x-max-visits", least=1, whole=True)
        return MAX_VISITS if most is None else int(most)


def _key(at: Cursor) -> tuple[str, Inside]:
    return str(id(at.document)), at.path


def _refused(at: Cursor, problems: Iterable[tuple[Inside, str, str]]) -> bool:
    """Whether something is wrong with an extension; each is said with its own place."""
    found = list(problems)
    for path, what, wanted in found:
        replace(at, path=(*at.path, *path)).bad(wanted, found=what)
    return bool(found)
