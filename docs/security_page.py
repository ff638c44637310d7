"""Hold docs/security.md against the tests: whatever it claims somebody tries, and is stopped.

`make check` runs it. Each row of a table with a column for tests names at least one that exists, or
says *not here* with the reason; each guard rail of docs/agent-policies.md has a row; OWASP's lists
are whole.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
POLICIES = ROOT / "docs" / "agent-policies.md"
RAILS = "## Guard rails of agents"
NAMED = re.compile(r"`([\w/]+/test_\w+\.py)::(test_\w+)`")
_LEFT_TO_OTHERS = re.compile(r"\*not here\*: \w{3,}")
_LEAD = re.compile(r"^\* \*\*(.+?)\*\*", re.MULTILINE)
_OWASP = {"API": "{}", "LLM": "{:02}", "ASI": "{:02}"}


def faults(page: str, policies: str) -> Iterator[str]:
    """What is wrong with the page, each with its place."""
    rows = list(rows_of(page))
    for row in rows:
        if not NAMED.search(row) and not _LEFT_TO_OTHERS.search(row):
            yield f"{_first(row)!r} names no test and no reason: *not here*: …"
        for file, name in NAMED.findall(row):
            if name not in _functions(ROOT / "tests" / file):
                yield f"{_first(row)!r} names {file}::{name}, which there is not"
    railed = [_first(row) for row in rows_of(_section(page, RAILS))]
    for rail in rails_of(policies):
        if not any(rail in first for first in railed):
            yield f"{RAILS!r} has no row for {rail!r} of {POLICIES.name}"
    for prefix, number in _OWASP.items():
        for point in (f"{prefix}{number.format(each)} " for each in range(1, 11)):
            if not any(_first(row).startswith(point) for row in rows):
                yield f"OWASP's {point.strip()} is missing"


def rows_of(text: str) -> Iterator[str]:
    """Lines of the tables that have a column for tests."""
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.endswith("| test |"):
            inside = True
        elif inside and not line.startswith("| ---"):
            yield line


def rails_of(policies: str) -> list[str]:
    """What the page on policies promises: its rules by name, and what its bullets begin with."""
    table = re.search(r"\| rule \| means \|\n\|[ -|]+\n((?:\|.*\n)+)", policies)
    if table is None:
        sys.exit(f"{POLICIES.name} has no table of rules: | rule | means |")
    rules = [name for line in table[1].splitlines() for name in re.findall(r"`\w+`", _first(line))]
    return [*rules, *(lead.rstrip(".") for lead in _LEAD.findall(policies))]


def _first(row: str) -> str:
    return row.split("|")[1].strip()


def _section(page: str, heading: str) -> str:
    return page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]


@cache
def _functions(file: Path) -> frozenset[str]:
    if not file.is_file():
        return frozenset()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        each.name for each in ast.parse(file.read_text("utf-8")).body if isinstance(each, kinds)
    )


def _told(found: Iterable[str]) -> str:
    return "\n".join(f"{PAGE.name}: {each}" for each in found)


def main() -> None:
    """End with 1 and what is wrong, where something is."""
    if told := _told(faults(PAGE.read_text("utf-8"), POLICIES.read_text("utf-8"))):
        sys.exit(told)


if __name__ == "__main__":
    main()
