"""What publishing says about a document, joined with what the checks have found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from orchestrator.definitions.arazzo_validation import read_and_validate
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.report import Severity
from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import RefusedError

_PLACE = re.compile(
    r"(?P<name>.*?)(?::(?P<line>\d+)(?::\d+)?)?(?: \((?P<pointer>/.*)\))?", re.DOTALL
)


def check_publishing(
    document: Document, *, folder: Path, tasks: TaskRegistry, notes: Notes,
    effects_may_stay: bool = False,
) -> None:  # fmt: skip
    """Note what publishing refuses as errors, and what it warns about.

    Where the checks have said the same of the same place already, theirs becomes the error: they
    know more to say.
    """
    findings = Findings()
    try:
        read_and_validate(
            document, folder=folder, tasks=tasks, findings=findings,
            effects_may_stay=effects_may_stay,
        )  # fmt: skip
    except RefusedError as error:
        findings.problems += error.problems
    for problem in findings.problems:
        if not is_in(document, problem.place):
            notes.add_at("refused", "", None, f"{problem.place}: {problem.found}", problem.wanted)
            continue
        line, where = located(problem.place)
        same = notes.about(where, problem.found) or notes.about(where, _at_home(problem.found))
        if not same:
            notes.add_at("refused", where, line, problem.found, problem.wanted)
        for finding in same:
            notes.replace(finding, replace(finding, severity=Severity.ERROR))
    for warning in findings.warnings:
        place, _, text = warning.partition(": ")
        line, where = located(place)
        if is_in(document, place) and not _said_already(text):
            notes.add_at("advice", where, line, text, "")


def _at_home(found: str) -> str:
    """`step outer/inner with…` as it is said where the inner workflow stands, once."""
    return re.sub(r"^step \S+/", "step ", found)


def is_in(document: Document, place: str) -> bool:
    """Whether a place is one of this document, not of one whose workflows it calls."""
    found = _PLACE.fullmatch(place)
    return found is not None and found["name"] == document.name


def located(place: str) -> tuple[int | None, str]:
    """Line and pointer of a place as `Document.place` writes it."""
    found = _PLACE.fullmatch(place)
    if found is None:
        return None, ""
    return (int(found["line"]) if found["line"] else None), found["pointer"] or ""


def _said_already(text: str) -> bool:
    """The checks say it with a rule of their own."""
    return any(
        said in text
        for said in (
            "is unkeyed and cannot be verified",
            "has no compensation: its effect stays when a run turns back",
        )
    )
