"""A promise is held by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.checker.invariants import INVARIANTS, SECRETS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+(?:\.py)?(?:::\w+)?)`", TEXT)))


@pytest.mark.parametrize("name", NAMED)
def test_what_holds_a_promise_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert (ROOT / path).exists(), f"{path} is named in docs/guarantees.md and does not exist"
    if function:
        assert f"def {function}(" in (ROOT / path).read_text(), f"no {function} in {path}"


def test_every_promise_names_a_test() -> None:
    promises = TEXT.partition("\n## The promises\n")[2]
    sections = re.split(r"^### ", promises, flags=re.MULTILINE)[1:]
    assert [section[:3].strip() for section in sections] == [f"P{n}" for n in range(1, 17)]
    for section in sections:
        assert "`tests/" in section, section.partition("\n")[0]


def test_every_invariant_of_the_checker_is_on_the_page() -> None:
    for name in (*INVARIANTS, SECRETS):
        assert f"`{name}`" in TEXT, name
