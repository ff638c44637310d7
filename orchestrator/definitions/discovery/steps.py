"""The steps of a workflow document with what discovery proposes for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.discovery.evidence import Proposal
from orchestrator.definitions.discovery.proposing import Proposer, propose
from orchestrator.definitions.discovery.survey import MUTATING, Facts, Survey
from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.sources import Sources, Target
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class StepProposal:
    """What is proposed for one step that changes something."""

    workflow: str
    step: str
    at: Cursor  # the step
    forward: Facts
    proposal: Proposal
    has_own: bool  # the document says already what undoes it


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """A workflow document's steps, and the operations of all its sources."""

    proposals: tuple[StepProposal, ...]
    survey: Survey
    problems: tuple[Problem, ...]  # of sources and steps that could not be read: they are left out


def read_steps(
    document: Document,
    *,
    folder: Path,
    tasks: TaskRegistry,
    more: tuple[Document, ...] = (),
    proposer: Proposer | None = None,
) -> Steps:
    """Proposals for the steps of all workflows, searched in the document's sources and in `more`.

    What cannot be read is left out and named. Raises InvalidDefinition when no source can be read.
    """
    findings = Findings()
    root = Cursor(document, findings, document.value)
    sources = Sources.of(root, folder=folder, tasks=tasks)
    survey = survey_of(root, sources, more)
    found = []
    for workflow in root.items("workflows"):
        for step in workflow.items("steps") if workflow.is_object() else ():
            forward = facts_of(step, sources, survey) if step.is_object() else None
            if forward is not None and forward.method in MUTATING:
                found.append(
                    StepProposal(
                        workflow=workflow.text("workflowId") or "", step=step.text("stepId") or "",
                        at=step, forward=forward, proposal=propose(forward, survey, proposer),
                        has_own=step.has("x-compensation"),
                    )
                )  # fmt: skip
    if not survey.operations:
        findings.raise_if_any(f"no source of {document.name} can be read")
    return Steps(
        proposals=tuple(found), survey=survey, problems=tuple(findings.problems)
    )  # fmt: skip


def _documents(root: Cursor, sources: Sources) -> Iterator[Document]:
    """Each API's document under the name that the workflow document gives it."""
    for item in root.items("sourceDescriptions"):
        name = item.text("name") if item.is_object() else None
        api = None if name is None else sources.document(name)
        if name is not None and api is not None:
            yield Document(name=name, text="", value=api.root)


def survey_of(root: Cursor, sources: Sources, more: tuple[Document, ...] = ()) -> Survey:
    """The operations of all sources of a workflow document, and of `more`."""
    return Survey.of([*_documents(root, sources), *more])


def facts_of(step: Cursor, sources: Sources, survey: Survey) -> Facts | None:
    """What is known of the operation that a step calls; None when it is not among them."""
    by_id, by_path = step.get("operationId"), step.get("operationPath")
    target: Target | None = None
    if by_id is not None:
        target = sources.by_id(by_id)
    elif by_path is not None:
        target = sources.by_path(by_path)
    if target is None or target.operation is None:
        return None
    operation = target.operation
    return next(
        (
            each for each in survey.operations
            if (each.api, each.method, each.path) == (target.api, operation.method, operation.path)
        ),
        None,
    )  # fmt: skip
