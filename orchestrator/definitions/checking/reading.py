"""Workflow documents as the checks see them: whatever can be read, without a word of complaint.

Publishing says what is wrong with the shape of a document (`arazzo.py`); the checks look at what
is there, so that a document with one fault is still checked in all its other parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.definitions.arazzo_bodies import replaced
from orchestrator.definitions.arazzo_calls import SAFE_METHODS
from orchestrator.definitions.arazzo_parts import resolved
from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.condition_texts import embedded
from orchestrator.definitions.conditions import Condition, parse_condition
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.discovery import Proposal, propose
from orchestrator.definitions.discovery.steps import facts_of, survey_of
from orchestrator.definitions.discovery.survey import Survey
from orchestrator.definitions.document import Document
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.problems import ExpressionError, Findings
from orchestrator.definitions.sources import Sources, Target
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Use:
    """An expression, and where it stands."""

    at: Cursor
    expression: Expression


@dataclass(frozen=True, slots=True)
class Given:
    """A parameter that is given a value."""

    at: Cursor
    name: str
    place: str  # path, query, header or cookie; "" when it does not say
    value: Cursor | None


@dataclass(frozen=True, slots=True)
class Criterion:
    """A condition; None when it is of another kind, or cannot be read."""

    at: Cursor
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Action:
    """One of `onSuccess` or `onFailure`."""

    at: Cursor
    kind: str  # end, goto, retry, or what else stands there
    step: str | None
    workflow: str | None
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class Call:
    """A step, an `x-compensation` or an `x-verify`: what it calls, sends, and looks at."""

    at: Cursor
    shared: Shared
    target: Target | None = None
    api: ApiOperation | None = None
    workflow: str | None = None  # of a step that calls another workflow

    @property
    def method(self) -> str:
        """Of its operation; "" when that is not known."""
        return self.api.operation.method if self.api else ""

    @property
    def has_effect(self) -> bool | None:
        """Whether it changes something; None when its operation is not known."""
        said = self.at.value.get("x-effects")
        if said is not None:
            return bool(said != "none")
        if self.target is not None and self.target.task is not None:
            return self.target.task.effects != "none"
        return self.method not in SAFE_METHODS if self.api else None

    @property
    def is_keyed(self) -> bool:
        """Whether the API honours a key for it."""
        if self.target is not None and self.target.task is not None:
            return self.target.task.effects == "keyed"
        return self.at.has("x-idempotency") or self.at.value.get("x-effects") == "keyed"

    def parameters(self) -> list[Given]:
        """Own ones, then those of the workflow that it does not set itself."""
        own = [given for item in self.at.items("parameters") for given in self._given(item)]
        taken = {(g.name, g.place) for g in own}
        shared = [g for item in self.shared.parameters for g in self._given(item)]
        return own + [g for g in shared if (g.name, g.place) not in taken]

    def _given(self, item: Cursor) -> Iterator[Given]:
        at = resolved(item, self.shared.components)
        if at is not None and isinstance(at.value, Mapping):
            place = at.value.get("in")
            name = at.value.get("name")
            if isinstance(name, str):
                yield Given(at, name, place if isinstance(place, str) else "", at.get("value"))

    @property
    def content_type(self) -> str | None:
        """Of the body, where the document gives one."""
        body = self.at.get("requestBody")
        value = body.value.get("contentType") if body and isinstance(body.value, Mapping) else None
        return value if isinstance(value, str) else None

    def payload(self) -> Cursor | None:
        """The body's payload; a JSON text that is written out as the value it stands for."""
        body = self.at.get("requestBody")
        payload = None if body is None else body.get("payload")
        if body is None or payload is None:
            return None
        value, _ = replaced(body, payload, self.content_type or "application/json")
        return Cursor(payload.document, payload.findings, value, payload.path)

    def criteria(self, name: str = "successCriteria") -> list[Criterion]:
        """Of success, or `onlyIf`."""
        return list(criteria_of(self.at, name))

    def outputs(self) -> dict[str, Cursor]:
        """Names, and where their expressions stand."""
        return dict(self.at.entries("outputs"))

    # --- expressions ------------------------------------------------------------------------------

    def sent(self) -> Iterator[Use]:
        """Every expression that must be known before the call is made."""
        for given in self.parameters():
            if given.value is not None:
                yield from uses(given.value)
        payload = self.payload()
        if payload is not None:
            yield from uses(payload)

    def seen(self) -> Iterator[Use]:
        """Every expression that is evaluated when there is an answer."""
        for criterion in self.criteria():
            yield from _of_criterion(criterion)
        for value in self.outputs().values():
            yield from uses(value)


@dataclass(frozen=True)
class Step:
    """One step with all that belongs to it."""

    id: str
    index: int
    call: Call
    undos: tuple[Call, ...]  # one, or one for each way that the step may go
    verify: Call | None
    undo_verifies: tuple[Call | None, ...]  # of each
    on_success: tuple[Action, ...]
    on_failure: tuple[Action, ...]
    depends_on: tuple[str, ...]

    @property
    def at(self) -> Cursor:
        """The step's own place."""
        return self.call.at

    @property
    def undo(self) -> Call | None:
        """What undoes it; of several the first."""
        return next(iter(self.undos), None)

    def verification_of(self, undo: Call) -> Call | None:
        """What tells whether one of its undos happened."""
        pairs = zip(self.undos, self.undo_verifies, strict=True)
        return next((verify for one, verify in pairs if one is undo), None)

    def cases(self) -> list[Cursor]:
        """The cases of a compensation that has several, `none` among them; else nothing."""
        given = self.at.get("x-compensation")
        cases = self.at.items("x-compensation") if given and isinstance(given.value, list) else []
        found = [resolved(item, self.call.shared.components) for item in cases]
        return [at for at in found if at is not None and isinstance(at.value, Mapping)]

    @property
    def is_pivot(self) -> bool:
        """Whether a run only goes forward from here."""
        return self.at.value.get("x-pivot") is True

    @property
    def undoes(self) -> bool:
        """Whether its author says that it undoes other steps by hand."""
        return bool(self.at.value.get("x-undoes"))

    @property
    def no_undo_reason(self) -> str | None:
        """Why nothing undoes it, where somebody wrote that down."""
        given = self.at.value.get("x-compensation")
        reason = given.get("none") if isinstance(given, Mapping) else None
        return reason if isinstance(reason, str) and reason.strip() else None

    @property
    def is_undone_by_follow_up(self) -> bool:
        """Whether its compensation makes amends only."""
        return any(undo.at.value.get("kind") == "follow-up" for undo in self.undos)

    def calls(self) -> Iterator[Call]:
        """All of them."""
        for call in (self.call, self.verify, *self.undos, *self.undo_verifies):
            if call is not None:
                yield call


@dataclass(frozen=True)
class Flow:
    """One workflow."""

    id: str
    at: Cursor
    steps: tuple[Step, ...]
    document: ReadDocument

    def step(self, step_id: str) -> Step | None:
        """The first one with this id."""
        return next((step for step in self.steps if step.id == step_id), None)

    def outputs(self) -> dict[str, Cursor]:
        """Names, and where their expressions stand."""
        return dict(self.at.entries("outputs"))


@dataclass(frozen=True)
class Shared:
    """What the calls of one workflow have in common."""

    components: Cursor | None
    parameters: tuple[Cursor, ...] = ()


@dataclass
class ReadDocument:
    """A whole document."""

    document: Document
    root: Cursor
    sources: Sources
    flows: list[Flow] = field(default_factory=list)

    def flow(self, workflow_id: str) -> Flow | None:
        """The first workflow with this id."""
        return next((flow for flow in self.flows if flow.id == workflow_id), None)

    def proposal(self, step: Step) -> Proposal | None:
        """What discovery proposes to undo a step; None where its operation is not known."""
        facts = facts_of(step.at, self.sources, self._survey)
        return None if facts is None else propose(facts, self._survey)

    @cached_property
    def _survey(self) -> Survey:
        """Made when it is first asked for: most documents are not in need of it."""
        return survey_of(self.root, self.sources)


def read_leniently(document: Document, *, folder: Path, tasks: TaskRegistry) -> ReadDocument:
    """Everything in a document that makes sense."""
    root = Cursor(document, Findings(), document.value)
    read = ReadDocument(document, root, Sources.of(root, folder=folder, tasks=tasks))
    for at in root.items("workflows"):
        if isinstance(at.value, Mapping):
            read.flows.append(_FlowReader(at, read).read())
    return read


class _FlowReader:
    def __init__(self, at: Cursor, read: ReadDocument) -> None:
        self._at, self._read = at, read
        self._components = read.root.get("components")
        self._shared = Shared(self._components, tuple(at.items("parameters")))

    def read(self) -> Flow:
        items = [item for item in self._at.items("steps") if isinstance(item.value, Mapping)]
        steps = tuple(self._step(item, index) for index, item in enumerate(items))
        return Flow(_text(self._at, "workflowId"), self._at, steps, self._read)

    def _step(self, at: Cursor, index: int) -> Step:
        undos = tuple(self._undos(at))
        return Step(
            id=_text(at, "stepId"), index=index, call=self._call(at), undos=undos,
            verify=self._verify(at), undo_verifies=tuple(self._verify(one.at) for one in undos),
            on_success=self._actions(at, "onSuccess", "successActions"),
            on_failure=self._actions(at, "onFailure", "failureActions"),
            depends_on=tuple(i.value for i in at.items("dependsOn") if isinstance(i.value, str)),
        )  # fmt: skip

    def _call(self, at: Cursor) -> Call:
        by_id, by_path, workflow = (
            at.get("operationId"),
            at.get("operationPath"),
            at.get("workflowId"),
        )
        if workflow is not None and isinstance(workflow.value, str):
            return Call(at, self._shared, workflow=workflow.value)
        sources, target = self._read.sources, None
        try:
            if by_id is not None:
                target = sources.by_id(by_id)
            elif by_path is not None:
                target = sources.by_path(by_path)
        except RefusedError:  # a broken definition of the API: publishing says so
            target = None
        if target is None or target.operation is None:
            return Call(at, self._shared, target=target)
        document = sources.document(target.api)
        api = None if document is None else ApiOperation(target.api, target.operation, document)
        return Call(at, self._shared, target=target, api=api)

    def _undos(self, at: Cursor) -> Iterator[Call]:
        given = at.get("x-compensation")
        several = given is not None and isinstance(given.value, list)
        for item in at.items("x-compensation") if several else [given] if given else []:
            found = resolved(item, self._components)
            if found is not None and isinstance(found.value, Mapping) and not found.has("none"):
                yield self._call(found)

    def _verify(self, at: Cursor) -> Call | None:
        given = at.get("x-verify")
        return self._call(given) if given and isinstance(given.value, Mapping) else None

    def _actions(self, step: Cursor, own: str, shared: str) -> tuple[Action, ...]:
        """The step's own, then those of the workflow that it does not override by name."""
        found = list(self._read_actions(step, own))
        names = [action.at.value["name"] for action in found if action.at.has("name")]
        more = self._read_actions(self._at, shared)
        return (*found, *(a for a in more if a.at.value.get("name") not in names))

    def _read_actions(self, at: Cursor, name: str) -> Iterator[Action]:
        for item in at.items(name):
            action = resolved(item, self._components)
            if action is not None and isinstance(action.value, Mapping):
                yield _action(action)


def _action(at: Cursor) -> Action:
    kind = _text(at, "type")
    leads = kind != "end"  # which may name a target all the same, to no effect
    step = at.value.get("stepId") if leads else None
    workflow = at.value.get("workflowId") if leads else None
    return Action(
        at, kind,
        step if isinstance(step, str) else None,
        workflow if isinstance(workflow, str) else None,
        tuple(criteria_of(at, "criteria")),
    )  # fmt: skip


def criteria_of(at: Cursor, name: str) -> Iterator[Criterion]:
    """The criteria under a name."""
    for item in at.items(name):
        if not isinstance(item.value, Mapping):
            continue
        text, kind = item.value.get("condition"), item.value.get("type", "simple")
        condition = None
        if isinstance(text, str) and kind == "simple":
            try:
                condition = parse_condition(text)
            except ExpressionError:  # publishing says so, at the same place
                condition = None
        yield Criterion(item, condition)


def _of_criterion(criterion: Criterion) -> Iterator[Use]:
    context = criterion.at.get("context")
    if context is not None:
        yield from uses(context)
    text, kind = criterion.at.get("condition"), criterion.at.value.get("type", "simple")
    if text is not None and kind != "simple" and isinstance(text.value, str):
        yield from (Use(text, expression) for expression in embedded(text.value))
    if criterion.condition is not None:
        at = criterion.at.child("condition", criterion.condition.text)
        for expression in criterion.condition.expressions():
            yield Use(at, expression)


def uses(at: Cursor) -> Iterator[Use]:
    """Every expression in a value, with its place; those that cannot be read are left out."""
    if isinstance(at.value, Mapping):
        for key, value in at.value.items():
            yield from uses(at.child(str(key), value))
    elif isinstance(at.value, list):
        for index, value in enumerate(at.value):
            yield from uses(at.child(index, value))
    elif isinstance(at.value, str):
        try:
            found = list(compile_value(at.value).expressions())
        except ExpressionError:  # publishing says so, at the same place
            found = []
        for _, expression in found:
            yield Use(at, expression)


def action_uses(action: Action) -> Iterator[Use]:
    """The expressions of an action's criteria."""
    for criterion in action.criteria:
        yield from _of_criterion(criterion)


def _text(at: Cursor, name: str) -> str:
    value: Any = at.value.get(name)
    return value if isinstance(value, str) else ""
