"""Documents read, validated, and held against the official schema: for publishing and checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.definitions.arazzo import ReadWorkflow, read_workflows
from orchestrator.definitions.children import repinned
from orchestrator.definitions.document import Document
from orchestrator.definitions.flow import Flow
from orchestrator.definitions.official.first_pass import add_faults
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.definitions.validation import MAX_STEPS, Part, stays_undeclared, validate

NOT_DECLARED = "the document declares no compensation"
"""The reason that stands for a missing one where effects may stay."""


def read_and_validate(
    document: Document, *, folder: Path, tasks: TaskRegistry, findings: Findings,
    workflow_id: str | None = None, effects_may_stay: bool = False,
) -> list[ReadWorkflow]:  # fmt: skip
    """The workflows of a document, or the one asked for. Problems go to `findings`.

    `effects_may_stay`: a step with an effect, and neither a compensation nor a reason for none, is
    warned of instead of refused.
    """
    read = read_workflows(
        document, folder=folder, tasks=tasks, findings=findings, workflow_id=workflow_id
    )
    workflows = read.workflows
    if effects_may_stay:
        workflows = _pinned([_with_effects_that_stay(item, findings) for item in workflows])
    for item in workflows:
        validate(item.plan, item.place, findings)
    for each in read.documents:  # last: what has been said already is not said again
        add_faults(each, findings)
    return workflows


def _pinned(read: list[ReadWorkflow]) -> list[ReadWorkflow]:
    """Those that begin others with the versions that these have become."""
    plans = repinned([item.plan for item in read])
    return [replace(item, plan=plans[item.plan.workflow]) for item in read]


def _with_effects_that_stay(read: ReadWorkflow, findings: Findings) -> ReadWorkflow:
    """With a reason in each step that lacks one, and a warning for it."""
    steps = list(read.plan.steps)
    if not 0 < len(steps) <= MAX_STEPS:
        return read  # validation says so
    flow = Flow(read.plan)
    for index, step in enumerate(steps):
        if stays_undeclared(read.plan, flow, index):
            steps[index] = replace(step, no_compensation_reason=NOT_DECLARED)
            findings.warn(
                read.place(index, Part.FORWARD, ()),
                f"{step.id} has no compensation: its effect stays when a run turns back",
            )
    return replace(read, plan=replace(read.plan, steps=tuple(steps)))
