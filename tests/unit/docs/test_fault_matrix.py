"""What is said of a fault is what its tests came to: none is left out, and none made up."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree.ElementTree import Element, SubElement

import pytest


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[3] / "docs" / "fault_matrix.py"
    spec = importlib.util.spec_from_file_location("fault_matrix", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fault_matrix", module)
    spec.loader.exec_module(module)
    return module


def case(name: str, verdict: str = "", file: str = "tests.faults.test_a") -> Element:
    made = Element("testcase", {"classname": file, "name": name})
    if verdict:
        SubElement(made, verdict)
    return made


@pytest.mark.parametrize(
    ("tests", "cases", "counts"),
    [
        (["::test_x"], [case("test_x")], {"passed": 1}),
        (["::test_x"], [case("test_x[1]"), case("test_x[2]", "failure")],
         {"passed": 1, "failed": 1}),
        (["::test_x"], [case("test_x", "skipped")], {"skipped": 1}),
        (["::test_x"], [case("test_x", "error")], {"failed": 1}),
        (["::test_x"], [case("test_xy"), case("test_x", file="tests.faults.test_b")],
         {"not ended": 1}),
        (["::test_x", "::test_y"], [case("test_x")], {"passed": 1, "not ended": 1}),
        (["::*"], [case("test_x"), case("test_y[2]")], {"passed": 2}),
        ([""], [case("test_x"), case("test_y")], {"passed": 2}),
        (["", "::test_x"], [case("test_x")], {"passed": 1}),
        ([""], [], {"not ended": 1}),
    ],
)  # fmt: skip
def test_each_case_counts_once_and_a_test_without_any_is_said(
    matrix: ModuleType, tests: list[str], cases: list[Element], counts: dict[str, int]
) -> None:
    named = tuple(f"tests/faults/test_a.py{test}" for test in tests)
    row = matrix.Row("F1", "fault", "holds", named, "", "")
    assert matrix.counts(row, cases) == counts
    kept = {"at": "2026-01-02", "counts": matrix.counts(row, cases)}
    assert matrix.passed(kept) == (counts.keys() == {"passed"})


def test_a_row_that_was_not_run_has_not_passed(matrix: ModuleType) -> None:
    row = matrix.Row("F1", "a fault", "it holds", ("tests/faults/test_a.py::test_x",), "", "")
    kept = {"F1": {"at": "2026-01-02", "counts": {"passed": 2}}}
    assert "Of 0 of 1 all tests passed" in matrix.page([row], {})
    assert "Of 1 of 1 all tests passed" in matrix.page([row], kept)
    place = f"before\n{matrix.BEGIN}{matrix.END}after\n"
    shown = matrix.with_outcomes(place, [row], kept)
    assert "Of 1 of 1 all tests passed" in shown
    assert "| F1 a fault | `test_x` | 2 passed (2026-01-02) |" in shown
    assert matrix.with_outcomes(shown, [row], kept) == shown
