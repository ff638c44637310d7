"""Workflows over APIs, written in Python: everything that a document can say, as a document.

    shop = Api("shop", "shop.openapi.yaml")
    order = (
        ApiWorkflow("order", inputs={"amount": int})
        .step(
            "charge",
            shop.call("createCharge", body={"amount": "$inputs.amount"}, key="Idempotency-Key",
                      outputs={"id": "$response.body#/id"}),
            undo=shop.call("refundCharge", path={"id": "$steps.charge.outputs.id"},
                           key="Idempotency-Key"),
        )
    )

They become an Arazzo document (`as_document`), which is what is read and validated: there is one
way from a document to a plan, and nothing that only Python could say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from orchestrator.core.plan import CompensationKind, Effects
from orchestrator.definitions.builder import inputs_schema_of
from orchestrator.definitions.document import scalar

VERSION = "1.0.1"
VERSION_OF_SELECTORS = "1.1.0"
"""Written where something is said that 1.0 has no word for."""
_KINDS = ("path", "query", "header", "cookie")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiCall:
    """One operation: what is sent, and what its answer has to be. Made by `Api.call`."""

    api: Api
    operation: str
    fields: Mapping[str, Any]  # of the step, as in a document

    def when(self, *conditions: str | Mapping[str, Any]) -> ApiCall:
        """The same as a case of several that undo a step: it counts where all of these hold."""
        criteria = [_criterion(one) for one in conditions]
        return replace(self, fields={**self.fields, "onlyIf": criteria})


@dataclass(frozen=True, slots=True)
class Api:
    """An API: its name, which is that of its file in `config/apis`, and its OpenAPI document.

    The document's path is relative to the module. `tasks:` stands for this deployment's tasks.
    """

    name: str
    document: str

    def call(
        self,
        operation: str,
        *,
        path: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        querystring: str | None = None,
        header: Mapping[str, Any] | None = None,
        cookie: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str | None = None,
        replacements: Sequence[Mapping[str, Any]] = (),
        success: Sequence[str | Mapping[str, Any]] = (),
        outputs: Mapping[str, Any] | None = None,
        key: str | Mapping[str, Any] | None = None,
        effects: Effects | str | None = None,
        verify: ApiCall | None = None,
        timeout: float | None = None,
    ) -> ApiCall:
        """A call of the operation with this id.

        Values are JSON with runtime expressions in it, bytes among them as data URLs.
        `querystring` is the whole query as one text. `replacements` are put into the body:
        {target, value, targetSelectorType}. `success`: conditions, or criteria of other kinds as in
        a document. `key`: the header in which the API takes an idempotency key, or an
        `x-idempotency`. `verify` is asked whether the effect is there when that is in doubt.
        `timeout` in seconds.
        """
        given = zip(_KINDS, (path, query, header, cookie), strict=True)
        parameters = [
            {"name": name, "in": kind, "value": value}
            for kind, values in given for name, value in (values or {}).items()
        ]  # fmt: skip
        if querystring is not None:
            parameters.append({"name": "query", "in": "querystring", "value": querystring})
        sent = _said({"contentType": content_type, "replacements": list(replacements)})
        fields = {
            "parameters": parameters,
            "requestBody": None if body is None else {**sent, "payload": body},
            "successCriteria": [_criterion(one) for one in success],
            "outputs": dict(outputs or {}),
            "x-idempotency": {"in": "header", "name": key} if isinstance(key, str) else key,
            "x-effects": None if effects is None else str(Effects(effects)),
            "x-verify": None if verify is None else as_step(verify),
            "x-timeout": timeout,
        }
        return ApiCall(api=self, operation=operation, fields=_said(fields))


@dataclass(frozen=True, slots=True)
class ApiWorkflow:
    """A workflow over APIs in the making. Immutable: each `step` gives a new one.

    `inputs`, `outputs`, `deadline`, `lane`, `four_eyes`, `attributes`, `escalation`, `budget`,
    `intent` and `slo` as of `Workflow`; `extra` has any other field of a workflow in a document
    (`x-owner`, …).
    """

    name: str
    inputs: Any = None
    outputs: Mapping[str, Any] | None = None
    title: str = ""
    deadline: float | None = None
    lane: str | None = None
    four_eyes: bool | Mapping[str, Any] | None = None
    attributes: Mapping[str, str] | None = None
    escalation: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    budget: Mapping[str, Any] | None = None
    intent: Mapping[str, str] | None = None
    slo: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    steps: tuple[Mapping[str, Any], ...] = ()
    apis: tuple[Api, ...] = ()

    def step(
        self,
        name: str,
        call: ApiCall | str,
        *,
        undo: ApiCall | Sequence[ApiCall] | None = None,
        kind: CompensationKind | str = CompensationKind.REVERSE,
        only_if: Sequence[str] = (),
        no_undo: str | None = None,
        pivot: bool = False,
        on_success: Sequence[Mapping[str, Any]] = (),
        on_failure: Sequence[Mapping[str, Any]] = (),
        start_within: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ApiWorkflow:
        """The workflow with one more step.

        `call` is an operation, or the name of a workflow beside this one. `undo` undoes it, where
        `only_if` holds; or `no_undo` says why nothing can. Of several undos the first counts whose
        conditions (`when`) hold; `no_undo` then says why nothing is undone where none does. `goto`,
        `end` and `retry` are actions.
        `start_within`: seconds after the step before in which its first request must leave.
        """
        target = {"workflowId": call} if isinstance(call, str) else as_step(call)
        step = {
            "stepId": name, **target,
            "onSuccess": list(on_success), "onFailure": list(on_failure),
            "x-compensation": _compensation(undo, CompensationKind(kind), only_if, no_undo),
            "x-pivot": True if pivot else None, "x-start-within": start_within,
            **(extra or {}),
        }  # fmt: skip
        undos = [undo] if isinstance(undo, ApiCall) else undo or ()
        apis = [*self.apis, *(c.api for c in (call, *undos) if isinstance(c, ApiCall))]
        return replace(self, steps=(*self.steps, _said(step)), apis=tuple(dict.fromkeys(apis)))


def goto(
    step: str | None = None,
    *,
    workflow: str | None = None,
    when: Sequence[str] = (),
    name: str = "",
) -> Mapping[str, Any]:
    """An action: go on at a step, or with another workflow, `when` all conditions hold."""
    fields = {"stepId": step, "workflowId": workflow}
    return _action("goto", name or f"to-{step or workflow}", when) | _said(fields)


def end(*, when: Sequence[str] = (), name: str = "end") -> Mapping[str, Any]:
    """An action: end here; of a failure, turn back and undo."""
    return _action("end", name, when)


def retry(
    *,
    limit: int = 1,
    after: float | None = None,
    step: str | None = None,
    when: Sequence[str] = (),
    name: str = "retry",
) -> Mapping[str, Any]:
    """An action of a failure: try again, `after` seconds, at most `limit` times, `step` before."""
    fields = {"retryAfter": after, "retryLimit": limit, "stepId": step}
    return _action("retry", name, when) | _said(fields)


class Selector(dict[str, Any]):
    """A selector object, known from an object that happens to look like one. See `select`."""


def select(context: str, selector: str, *, kind: str = "jsonpath") -> Selector:
    """A value, in place of an expression: what a selector finds in what `context` leads to.

    `kind`: jsonpath, jsonpointer or xpath.
    """
    return Selector(context=context, selector=selector, type=kind)


def as_step(call: ApiCall) -> dict[str, Any]:
    """A call as the fields of a step."""
    return {"operationId": f"$sourceDescriptions.{call.api.name}.{call.operation}", **call.fields}


def as_document(workflows: Sequence[ApiWorkflow], *, title: str) -> dict[str, Any]:
    """Workflows, which may call each other, as an Arazzo document."""
    apis = dict.fromkeys(api for workflow in workflows for api in workflow.apis)
    sources = [{"name": api.name, "url": api.document, "type": "openapi"} for api in apis]
    written = [_workflow(each) for each in workflows]
    version = VERSION_OF_SELECTORS if _needs_1_1(written) else VERSION
    return {
        "arazzo": version, "info": {"title": title, "version": "1.0.0"},
        "sourceDescriptions": sources, "workflows": written,
    }  # fmt: skip


def as_yaml(document: Any) -> str:
    """JSON values as YAML, in their order; read again they are the same."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


# --- parts ----------------------------------------------------------------------------------------


def _workflow(workflow: ApiWorkflow) -> dict[str, Any]:
    schema = inputs_schema_of(workflow.inputs)
    return _said({
        "workflowId": workflow.name, "summary": workflow.title or None, "inputs": schema,
        "x-deadline": workflow.deadline, "x-lane": workflow.lane,
        "x-four-eyes": workflow.four_eyes, "x-attributes": workflow.attributes,
        "x-escalation": _listed(workflow.escalation), "x-budget": workflow.budget,
        "x-intent": workflow.intent, "x-slo": workflow.slo,
        **(workflow.extra or {}),
        "steps": [dict(step) for step in workflow.steps], "outputs": dict(workflow.outputs or {}),
    })  # fmt: skip


def _listed(said: Any) -> Any:
    """As a document has it: a list, where there are several."""
    return list(said) if isinstance(said, tuple) else said


def _needs_1_1(value: Any) -> bool:
    if isinstance(value, Selector):
        return True
    if isinstance(value, Mapping):
        named = "targetSelectorType" in value or value.get("in") == "querystring"
        return named or any(_needs_1_1(item) for item in value.values())
    return isinstance(value, list) and any(_needs_1_1(item) for item in value)


def _compensation(
    undo: ApiCall | Sequence[ApiCall] | None, kind: CompensationKind, only_if: Sequence[str],
    no_undo: str | None,
) -> dict[str, Any] | list[dict[str, Any]] | None:  # fmt: skip
    nothing = None if no_undo is None else {"none": no_undo}
    if undo is None:
        return nothing
    if not isinstance(undo, ApiCall):
        named = {} if kind is CompensationKind.REVERSE else {"kind": str(kind)}
        return [as_step(one) | named for one in undo] + ([nothing] if nothing else [])
    how = {
        "kind": None if kind is CompensationKind.REVERSE else str(kind),
        "onlyIf": [_criterion(one) for one in only_if],
    }
    return as_step(undo) | _said(how)


def _action(kind: str, name: str, when: Sequence[str]) -> dict[str, Any]:
    return _said({"name": name, "type": kind, "criteria": [_criterion(one) for one in when]})


def _criterion(given: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"condition": given} if isinstance(given, str) else dict(given)


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Only what says something; a `0` and a `false` do."""
    return {
        name: value for name, value in fields.items()
        if value is not None and not (isinstance(value, list | dict) and not value)
    }  # fmt: skip


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as something else, and repeats what appears twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None if isinstance(scalar(value), str) and value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Selector, _Dumper.represent_dict)
