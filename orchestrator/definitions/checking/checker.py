"""One document, checked by every rule."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

import structlog

from orchestrator.definitions.checking.check_answers import check_answers
from orchestrator.definitions.checking.check_flow import check_flow
from orchestrator.definitions.checking.check_references import check_references
from orchestrator.definitions.checking.check_requests import check_requests
from orchestrator.definitions.checking.check_safety import check_safety
from orchestrator.definitions.checking.check_targets import check_targets
from orchestrator.definitions.checking.maturity import Deployment, maturity_of
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.publishing import check_publishing, located
from orchestrator.definitions.checking.reading import read_leniently
from orchestrator.definitions.checking.report import DocumentReport, Finding
from orchestrator.definitions.checking.rules import RULES
from orchestrator.definitions.checking.tidiness import check_tidiness
from orchestrator.definitions.checking.ways import Ways
from orchestrator.definitions.document import WORKFLOWS, Document, read_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import RefusedError

_log = structlog.get_logger(__name__)


def check_file(
    path: Path, *, tasks: TaskRegistry | None = None, deployment: Deployment | None = None,
    effects_may_stay: bool = False,
) -> DocumentReport:  # fmt: skip
    """Everything that there is to say about a file. Never raises for what stands in it.

    `effects_may_stay`: an effect that nothing undoes is a warning, as it is for publishing then.
    """
    started = time.perf_counter()
    try:
        document = read_document(path, limits=WORKFLOWS)
    except RefusedError as error:
        findings = [_unreadable(str(path), error)]
        return DocumentReport(file=str(path), findings=findings, seconds=_since(started))
    report = check_document(
        document, file=str(path), folder=path.parent, tasks=tasks, deployment=deployment,
        effects_may_stay=effects_may_stay,
    )  # fmt: skip
    return DocumentReport(
        file=report.file, findings=report.findings, workflows=report.workflows,
        seconds=_since(started),
    )  # fmt: skip


def check_document(
    document: Document, *, file: str, folder: Path, tasks: TaskRegistry | None = None,
    deployment: Deployment | None = None, effects_may_stay: bool = False,
) -> DocumentReport:  # fmt: skip
    """The same for a document that is read."""
    notes = Notes(document, file=file)
    registry = tasks or TaskRegistry()
    try:
        read = read_leniently(document, folder=folder, tasks=registry)
        check_targets(read, notes)
        for flow in read.flows:
            ways = Ways(flow)
            check_references(flow, ways, notes)
            check_requests(flow, notes)
            check_answers(flow, notes)
            check_flow(flow, ways, notes)
            check_safety(flow, ways, notes)
        check_tidiness(read, notes)
        check_publishing(
            document, folder=folder, tasks=registry, notes=notes,
            effects_may_stay=effects_may_stay,
        )  # fmt: skip
        findings = notes.findings()
        levels = [maturity_of(flow, findings, deployment or Deployment()) for flow in read.flows]
    except Exception as error:  # noqa: BLE001 - a fault of ours: said as one, and the rest goes on
        _log.error("check.failed", file=file, traceback=traceback.format_exc())
        notes.add(
            "checker-failed", (), f"{type(error).__name__}: {error}", "a report to its makers"
        )
        return DocumentReport(file=file, findings=notes.findings())
    return DocumentReport(file=file, findings=findings, workflows=levels)


def _unreadable(file: str, error: RefusedError) -> Finding:
    problem = error.problems[0] if error.problems else None
    return Finding(
        rule="unreadable", severity=RULES["unreadable"].severity, file=file,
        line=located(problem.place)[0] if problem else None, pointer="",
        found=problem.found if problem else error.message,
        wanted=problem.wanted if problem else "a document",
    )  # fmt: skip


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
