"""Where the checks write down what they find."""

from __future__ import annotations

from orchestrator.definitions.checking.report import Finding, Severity
from orchestrator.definitions.checking.rules import RULES
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import Document
from orchestrator.definitions.problems import Path, pointer

_LONGEST_LINE = 200


class Notes:
    """The findings of one document. The same rule says the same thing of a place once."""

    def __init__(self, document: Document, *, file: str) -> None:
        self._document, self._file = document, file
        self._lines = document.text.splitlines()
        self._found: dict[tuple[str, str, str], Finding] = {}

    def add(
        self, rule: str, at: Cursor | Path, found: str, wanted: str, *, fix: str = "",
        severity: Severity | None = None,
    ) -> None:  # fmt: skip
        """Note one finding at a place of the document."""
        path = at.path if isinstance(at, Cursor) else at
        self.add_at(
            rule, pointer(path), self._document.line(path), found, wanted, fix=fix,
            severity=severity,
        )  # fmt: skip

    def add_at(
        self, rule: str, where: str, line: int | None, found: str, wanted: str, *, fix: str = "",
        severity: Severity | None = None,
    ) -> None:  # fmt: skip
        """The same with pointer and line."""
        finding = Finding(
            rule=rule, severity=severity or RULES[rule].severity, file=self._file, line=line,
            pointer=where, found=found, wanted=wanted, fix=fix, source=self._source(line),
        )  # fmt: skip
        self._found.setdefault((rule, where, found), finding)

    def about(self, where: str, found: str) -> list[Finding]:
        """Those at a place that say the same in other words: one text begins with the other."""
        return [
            item for item in self._found.values()
            if item.pointer == where
            and (item.found.startswith(found) or found.startswith(item.found))
        ]  # fmt: skip

    def replace(self, old: Finding, new: Finding) -> None:
        """Put one in the place of another."""
        self._found[old.rule, old.pointer, old.found] = new

    def findings(self) -> list[Finding]:
        """All of them as they stand in the document, the graver first at one line."""
        return sorted(
            self._found.values(), key=lambda f: (f.line or 0, f.severity.weight, f.pointer, f.rule)
        )

    def _source(self, line: int | None) -> str:
        if line is None or not 0 < line <= len(self._lines):
            return ""
        text = self._lines[line - 1].rstrip()
        return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
