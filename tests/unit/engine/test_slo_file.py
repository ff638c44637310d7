"""`config/slos.yaml`: what it declares, and where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.slo import ALL_OTHERS, Objective, ObjectiveKind
from orchestrator.engine.slo_file import read_slos
from orchestrator.errors import InvalidSetting

GOOD = """\
"*":
  compensation: {target: 0.95, least_bad: 1}
checkout:
  success: {target: 0.995, window_days: 28}
  latency: {target: 0.95, seconds: 30}
  compensation: off
"""


def declared(folder: Path, text: str) -> object:
    (folder / "slos.yaml").write_text(text)
    return read_slos(folder)


def test_what_is_declared(tmp_path: Path) -> None:
    success, latency, undos = (
        ObjectiveKind.SUCCESS, ObjectiveKind.LATENCY, ObjectiveKind.COMPENSATION,
    )  # fmt: skip
    assert declared(tmp_path, GOOD) == {
        ALL_OTHERS: {undos: Objective(workflow="*", kind=undos, target=0.95, least_bad=1)},
        "checkout": {
            success: Objective(workflow="checkout", kind=success, target=0.995, window_days=28),
            latency: Objective(workflow="checkout", kind=latency, target=0.95, seconds=30.0),
            undos: None,
        },
    }


def test_nothing_is_declared_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_slos(tmp_path) == {}
    assert declared(tmp_path, "# nothing yet\n") == {}


@pytest.mark.parametrize(
    ("text", "place", "found", "wanted"),
    [
        ("checkout:\n  success: {target: 1.0}\n", "2: checkout.success.target", "1.0", "less than"),
        ("a:\n  success:\n    target: 0.9\n    seconds: 3\n", "4: a.success.seconds",
         "an unknown field", "one of target, window_days, least_bad"),
        ("a:\n  latency: {target: 0.9}\n", "2: a.latency.seconds", "nothing", "required"),
        ("\na:\n  speed: {target: 0.9}\n", "3: a.speed", "an unknown field",
         "one of success, latency, compensation, freshness"),
        ("a:\n  success: {target: 0.9}\n  success: {target: 0.8}\n", "3: success", "a second one",
         "each field once"),
        ("a:\n  success: {target: 0.9, window_days: 7}\n", "2: a.success.window_days", "7",
         "greater than or equal to 28"),
        ("- a\n", "1: document", "['a']", "dict"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, place: str, found: str, wanted: str
) -> None:
    with pytest.raises(InvalidSetting) as raised:
        declared(tmp_path, text)
    (problem,) = raised.value.problems
    assert problem.place == f"{tmp_path}/slos.yaml:{place}"
    assert found in problem.found
    assert wanted in problem.wanted
