"""What is said of a broker is what was played with it, and what went well is not played again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from tests.faults import brokers
from tests.faults.test_matrix import case

FILE = "tests/faults/test_a.py"
CHAOS = {"runs": 5, "faults": {"broker_killed": 2}, "drain_seconds": 1.0}


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ([case("test_x"), case("test_y[1]", "skipped")], {"passed": 1, "skipped": 1}),
        ([case("test_x", "error")], {"failed": 1, "names": ["test_x"]}),
        ([case("test_x", file="tests.faults.test_b")], {"not ended": 1, "names": [FILE]}),
    ],
)
def test_what_came_of_a_file(cases: list[Element], told: Mapping[str, Any]) -> None:
    assert brokers.counts(FILE, cases) == told
    assert brokers.is_well({FILE: told}) == ("passed" in told)


@pytest.mark.parametrize(
    ("told", "well", "shown"),
    [
        ({"a": {"passed": 2}, "b": {"passed": 1, "skipped": 4}}, True, "3 passed, 4 skipped"),
        ({"a": {"passed": 2}, "b": {"failed": 1, "names": ["x"]}}, False, "2 passed, 1 failed"),
        ({"a": {"not ended": 1, "names": ["a"]}}, False, "1 not ended"),
        ({**CHAOS, "broken": []}, True, "5 runs, 2 faults, all zeros"),
        ({**CHAOS, "broken": ["lost"]}, False, "broken: lost"),
    ],
)
def test_a_cell_of_the_table(told: Mapping[str, Any], well: bool, shown: str) -> None:
    column = "chaos, sqlite" if "broken" in told else "gate"
    assert brokers.is_well(told) == well
    page = brokers.page({"redis7": {"version": "7.0.1", "at": "2026-01-02", column: told}})
    assert f" {shown} |" in page
    assert ("`x`" in page) == ("x" in str(told.get("b")))


def test_the_rest_is_what_did_not_go_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[str] = []

    def play(files: Sequence[str], **_: object) -> tuple[int, list[Element]]:
        played.extend(files)
        return 0, [case("test_x", "failure" if each == bad else "", each[:-3].replace("/", "."))
                   for each in files]  # fmt: skip

    monkeypatch.setattr(brokers, "RESULTS", tmp_path / "brokers.json")
    monkeypatch.setattr(brokers, "version_of", lambda *_: "7.0.1")
    monkeypatch.setattr(brokers, "play", play)
    brokers.RESULTS.write_text("{}")
    bad = "tests/faults/test_roads.py"
    assert brokers.run("redis7", "redis-server", "real processes") == 1
    assert played == sorted(brokers.SUITES["real processes"])
    played.clear()
    bad = ""
    assert brokers.run("redis7", "redis-server", "real processes", rest=True) == 0
    assert played == ["tests/faults/test_roads.py"]
    kept = json.loads(brokers.RESULTS.read_text())["redis7"]
    assert len(kept["real processes"]) == len(brokers.SUITES["real processes"])
