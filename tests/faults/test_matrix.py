"""What is said of a fault is what its tests came to: none is left out, and none made up."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.faults import matrix
from tests.faults.playing import last_of_each


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
    tests: list[str], cases: list[Element], counts: dict[str, int]
) -> None:
    named = tuple(f"tests/faults/test_a.py{test}" for test in tests)
    row = matrix.Row("F1", "fault", "holds", named, "", "")
    assert matrix.counts(row, cases) == counts
    kept = {"at": "2026-01-02", "counts": matrix.counts(row, cases)}
    assert matrix.passed(kept) == (counts.keys() == {"passed"})


def test_a_case_that_was_played_again_counts_as_it_came_out_last() -> None:
    cases = [case("test_x"), case("test_y"), case("test_x", "failure"), case("test_x", file="b")]
    assert last_of_each(cases) == [cases[2], cases[1], cases[3]]


def test_a_row_that_was_not_run_has_not_passed() -> None:
    row = matrix.Row("F1", "a fault", "it holds", ("tests/faults/test_a.py::test_x",), "", "")
    kept = {"F1": {"at": "2026-01-02", "counts": {"passed": 2}}}
    assert "Of 0 of 1 all tests passed" in matrix.page([row], {})
    assert "Of 1 of 1 all tests passed" in matrix.page([row], kept)
    place = f"before\n{matrix.BEGIN}{matrix.END}after\n"
    shown = matrix.with_outcomes(place, [row], kept)
    assert "Of 1 of 1 all tests passed" in shown
    assert "| F1 a fault | `test_x` | 2 passed (2026-01-02) |" in shown
    assert matrix.with_outcomes(shown, [row], kept) == shown
