"""Do the steps call operations that their APIs have?"""

from __future__ import annotations

from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.publishing import located
from orchestrator.definitions.checking.reading import ReadDocument


def check_targets(read: ReadDocument, notes: Notes) -> None:
    """Sources and operations: what reading them leniently has noted is as grave here."""
    for problem in read.root.findings.problems:
        line, where = located(problem.place)
        if where.endswith(("/operationId", "/operationPath")):
            wanted, _, hint = problem.wanted.partition("; did you mean ")
            fix = f"{where.rsplit('/', 1)[-1]}: {hint.rstrip('?')}" if hint else ""
            notes.add_at("unknown-operation", where, line, problem.found, wanted, fix=fix)
