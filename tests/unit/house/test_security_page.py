"""What docs/security_page.py, which `make check` runs, lets nobody write."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
POLICIES = (ROOT / "docs" / "agent-policies.md").read_text()


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("security_page", ROOT / "docs/security_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_whole(checker: ModuleType) -> None:
    assert [*checker.faults(PAGE, POLICIES)] == []
    assert len([*checker.rows_of(PAGE)]) > 70
    assert len(checker.NAMED.findall(PAGE)) > 150
    assert {"`allow`", "`budgets`", "Another currency"} < {*checker.rails_of(POLICIES)}


ROW_TEST = "stories from the audit | `property/test_audit_chain.py::test_whatever_was_done_shows` |"


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("::test_never`", "::test_nowhere`", "test_nowhere, which there is not"),
        ("unit/gate/test_addresses.py", "unit/gate/test_streets.py", "which there is not"),
        (ROW_TEST, "stories from the audit | |", "names no test and no reason"),
        (ROW_TEST, "stories from the audit | *not here*: |", "names no test"),
        ("| API7 Server", "| Server", "OWASP's API7 is missing"),
        ("| `rates`:", "| rates:", "no row for '`rates`'"),
        ("## Guard rails of agents", "## Rails", "no row for '`allow`'"),
    ],
)
def test_a_line_without_its_test_is_told(
    checker: ModuleType, was: str, becomes: str, told: str
) -> None:
    assert was in PAGE
    assert told in "\n".join(checker.faults(PAGE.replace(was, becomes), POLICIES))


def test_a_new_guard_rail_wants_a_line(checker: ModuleType) -> None:
    more = POLICIES.replace("| `rates` |", "| `hours` | only by day |\n| `rates` |")
    more += "\n* **By night** nobody acts.\n"
    found = "\n".join(checker.faults(PAGE, more))
    assert "no row for '`hours`'" in found
    assert "no row for 'By night'" in found
