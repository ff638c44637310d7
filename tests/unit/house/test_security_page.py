"""The page on security names tests that exist, and one for whatever it claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`([\w/]+/test_\w+\.py)::(test_\w+)`")
OWASP = {"API": 10, "LLM": 10, "ASI": 10}


def _rows() -> list[str]:
    """Lines of the tables that have a column for tests."""
    rows, inside = [], False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.endswith("| test |"):
            inside = True
        elif inside and not line.startswith("| ---"):
            rows.append(line)
    return rows


def test_each_test_that_is_named_exists() -> None:
    named = set(NAMED.findall(PAGE))
    assert len(named) > 50
    sources: dict[str, str] = {}
    missing = []
    for file, name in sorted(named):
        path = ROOT / "tests" / file
        text = sources.setdefault(file, path.read_text() if path.is_file() else "")
        if not re.search(rf"^(async )?def {name}\(", text, re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_nothing_is_claimed_without_a_test() -> None:
    assert len(_rows()) > 50
    assert [row for row in _rows() if not NAMED.search(row) and "*not here*" not in row] == []


@pytest.mark.parametrize("prefix", OWASP)
def test_each_point_of_owasps_lists_is_there(prefix: str) -> None:
    digits = 2 if prefix != "API" else 1
    points = [f"{prefix}{number:0{digits}}" for number in range(1, OWASP[prefix] + 1)]
    assert [each for each in points if not re.search(rf"^\| {each} ", PAGE, re.MULTILINE)] == []
