"""The page on other engines' cases names tests that exist, and leaves no case out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
NAMED = re.compile(r"`([\w/]+/test_\w+\.py)::(test_\w+)`")
CASES = {1: 20, 2: 5, 3: 18, 4: 19, 5: 16, 6: 13, 7: 15, 8: 22, 9: 20, 10: 7}  # 155


def _rows() -> list[str]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [
        line for line in lines if not line.startswith(("| ---", "| cases", "| class", "| fold"))
    ]


def _cases(text: str) -> Iterator[str]:
    """`1-2, 1-4 to 1-6` one by one."""
    for group, first, last in re.findall(r"(\d+)-(\d+)(?: to \d+-(\d+))?", text):
        for number in range(int(first), int(last or first) + 1):
            yield f"{group}-{number}"


def test_each_test_that_is_named_exists() -> None:
    named = set(NAMED.findall(PAGE))
    assert len(named) > 50
    sources = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    missing = [
        f"{file}::{name}" for file, name in sorted(named)
        if not re.search(rf"^(async )?def {name}\(", sources[file], re.MULTILINE)
    ]  # fmt: skip
    assert missing == []


def test_each_case_is_there_once() -> None:
    told = Counter(case for row in _rows() for case in _cases(row.split("|")[1]))
    wanted = Counter(f"{group}-{n}" for group, count in CASES.items() for n in range(1, count + 1))
    assert (wanted.total(), told) == (155, wanted)


def test_nothing_is_left_unsaid() -> None:
    """A test, a reason, or where it has been said already."""
    assert len(_rows()) > 60
    said = ("*does not apply", "see ")
    assert [
        row for row in _rows()
        if not NAMED.search(row) and not any(word in row for word in said)
    ] == []  # fmt: skip
