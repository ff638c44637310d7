"""Findings as a good compiler shows them, and the catalogue of rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import table
from orchestrator.definitions.checking.report import (
    DocumentReport,
    Finding,
    Level,
    Maturity,
    Severity,
)
from orchestrator.definitions.checking.rules import RULES

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
_LEVEL_STYLES = {
    Level.UNSTRUCTURED: "red", Level.STRUCTURED: "yellow", Level.TRANSACTIONAL: "green",
    Level.MANAGED: "bold green",
}  # fmt: skip
_MOST_LACKS = 4


def draw_finding(finding: Finding) -> Text:
    """Headline, place, the line itself, what was found and what is wanted."""
    style = _STYLES[finding.severity]
    gutter, title = " " * len(str(finding.line or "")), RULES[finding.rule].title
    line = "" if finding.line is None else f":{finding.line}"
    text = Text.assemble(
        (f"{finding.severity.value}[{finding.rule}]", style), (f": {title}\n", "bold"),
        (f"{gutter}--> ", "blue"), f"{finding.file}{line}",
        (f"  {finding.pointer}\n" if finding.pointer else "\n", "dim"),
    )  # fmt: skip
    if finding.source.strip():
        bare = finding.source.strip()
        before = " " * (len(finding.source) - len(finding.source.lstrip()))
        text.append(f"{gutter} |\n", "blue")
        text.append(f"{finding.line} | ", "blue").append(f"{before}{bare}\n")
        text.append(f"{gutter} | ", "blue").append(f"{before}{'^' * len(bare)}\n", style)
    for name, value in (("found", finding.found), ("wanted", finding.wanted), ("fix", finding.fix)):
        if value:
            text.append(f"{gutter} = ", "blue").append(f"{name:<7}", "bold").append(f"{value}\n")
    return text


def draw_reports(reports: Sequence[DocumentReport], *, least: Severity) -> RenderableType:
    """All findings of at least that weight, the levels, and the sum."""
    parts: list[RenderableType] = []
    for report in reports:
        shown = [f for f in report.findings if f.severity.weight <= least.weight]
        parts += [draw_finding(finding) for finding in shown]
        parts += [_draw_maturity(report.file, item) for item in report.workflows]
        if shown or report.workflows:
            parts.append(Text())
    return Group(*parts, _sum(reports))


def _draw_maturity(file: str, item: Maturity) -> Text:
    text = Text.assemble(
        (item.workflow or "(no workflowId)", "bold"), (f" in {file}", "dim"), " is ",
        (item.level.value, _LEVEL_STYLES[item.level]),
    )  # fmt: skip
    if item.next is not None:
        few, more = item.lacks[:_MOST_LACKS], len(item.lacks) - _MOST_LACKS
        text.append(f"; for {item.next.value} it lacks")
        for lack in few:
            text.append("\n    - ", "dim").append(lack)
        if more > 0:
            text.append(f"\n    - and {more} more", "dim")
    return text


def _sum(reports: Sequence[DocumentReport]) -> Text:
    counts = Counter(finding.severity for report in reports for finding in report.findings)
    said = [_many(counts[severity], severity.value) for severity in Severity if counts[severity]]
    documents = _many(len(reports), "document")
    return Text(f"{documents}: {', '.join(said) or 'nothing found'}", style="bold")


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def draw_rules() -> RenderableType:
    """The catalogue."""
    drawn = table("rule", "severity", "finds", "because", wide=("finds", "because"))
    for rule in RULES.values():
        drawn.add_row(
            rule.id, Text(rule.severity.value, style=_STYLES[rule.severity]), rule.title, rule.why
        )
    return drawn


def worst_of(reports: Iterable[DocumentReport]) -> Severity | None:
    """The gravest severity of all."""
    found = [report.worst for report in reports if report.worst is not None]
    return min(found, key=lambda severity: severity.weight, default=None)
