"""The words of a published workflow, and why it was found, for people and agents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from orchestrator.core.plan import Call, Plan
from orchestrator.definitions.document import WORKFLOWS, parse_document
from orchestrator.errors import InvalidDefinition
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.finding import About, Fit

_Said = Mapping[str, Mapping[str, Any]]  # by workflow


def about_of(version: WorkflowVersion) -> About:
    """From its plan, and what its document says about it."""
    plan = version.plan
    said = _said(version.document).get(plan.workflow, {})
    calls = [step.call for step in plan.steps]
    of_steps = {
        step.get("stepId"): step.get("description", "")
        for step in said.get("steps") or ()
        if isinstance(step, Mapping)
    }
    return About(
        name=plan.workflow, title=plan.title, description=str(said.get("description") or ""),
        apis=" ".join(dict.fromkeys(step.call.api for step in plan.steps)),
        steps=" ".join(f"{step.id} {of_steps.get(step.id, '')}" for step in plan.steps),
        operations=" ".join([*map(_operation, calls), version.operations]),
        inputs=_inputs(plan), outputs=" ".join(plan.outputs),
    )  # fmt: skip


def why(fit: Fit) -> str:
    """`refund, order in name; customer in inputs; near in meaning`."""
    told = [f"{', '.join(words)} in {field}" for field, words in fit.words.items()]
    if fit.by_meaning:
        told.append("near in meaning")
    return ("" if fit.clear else "doubtful: ") + ("; ".join(told) or "far in words and meaning")


def _operation(call: Call) -> str:
    method, path = call.template.get("method", ""), call.template.get("path", "")
    return f"{call.label} {call.task_name or ''} {method} {path}"


def _inputs(plan: Plan) -> str:
    properties = plan.inputs_schema.get("properties")
    if not isinstance(properties, Mapping):
        return ""
    told = [
        f"{name} {field.get('description', '') if isinstance(field, Mapping) else ''}"
        for name, field in properties.items()
    ]
    return " ".join(told)


@lru_cache(maxsize=8)
def _said(document: str) -> _Said:
    """The workflows of an Arazzo document by id; nothing for what is none, such as Python."""
    if "workflows" not in document:
        return {}
    try:
        read = parse_document(document, name="", limits=WORKFLOWS, with_lines=False).value
    except InvalidDefinition:
        return {}  # a Python module that speaks of workflows
    listed = read.get("workflows") if isinstance(read, Mapping) else None
    return {
        str(each.get("workflowId")): each
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, Mapping)
    }
