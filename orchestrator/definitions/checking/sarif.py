"""Findings as SARIF 2.1.0, the form that code hosts and editors read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.definitions.checking.report import DocumentReport, Finding
from orchestrator.definitions.checking.rules import RULES, Rule

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def to_sarif(reports: Iterable[DocumentReport], *, version: str) -> Mapping[str, Any]:
    """One SARIF log with one run. `version` is the checker's."""
    ids = list(RULES)
    driver = {
        "name": "orchestrator workflows check", "version": version,
        "rules": [_rule(rule) for rule in RULES.values()],
    }  # fmt: skip
    results = [
        _result(finding, ids.index(finding.rule))
        for report in reports
        for finding in report.findings
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> Mapping[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(finding: Finding, index: int) -> Mapping[str, Any]:
    text = f"{RULES[finding.rule].title}: found {finding.found}"
    text += f"; wanted {finding.wanted}" if finding.wanted else ""
    text += f". Fix: {finding.fix}" if finding.fix else ""
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
    if finding.line is not None:
        place["region"] = {"startLine": finding.line}
    return {
        "ruleId": finding.rule, "ruleIndex": index, "level": finding.severity.value,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": place,
                "logicalLocations": [{"fullyQualifiedName": finding.pointer, "kind": "element"}],
            }
        ],
    }  # fmt: skip


def _uri(file: str) -> str:
    """A relative path as a relative reference, an absolute one as a file URI."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
