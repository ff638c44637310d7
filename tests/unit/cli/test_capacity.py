"""`orchestrator capacity`, with costs of the package and of a file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import main
from orchestrator.cli.capacity import size
from orchestrator.core.capacity import Cost, Costs, Resource
from orchestrator.errors import InvalidInput
from orchestrator.service.sizing import read_costs, to_json

COST = Cost(run=0.001, step=0.001, call=0.002, worker_second=0.01)
COSTS = Costs(of=dict.fromkeys(Resource, COST), step_seconds=0.005, busy_transactions=45.0)


def run(*options: object) -> Any:
    return CliRunner().invoke(main.app, ["capacity", *map(str, options)])


def test_people_and_machines_are_told_the_same() -> None:
    wish = ("--runs-per-second", 1000, "--steps", 5, "--call-ms", 200)
    found = json.loads(run(*wish, "--json").stdout)
    assert found["demand"]["calls_per_second"] == 5000
    assert found["demand"]["runs_in_flight"] > 1000
    shown = run(*wish).stdout
    assert f"{found['demand']['workers']:,}" in shown
    assert "86,400,000 a day" in shown
    assert found["costs_measured_on"].partition(",")[0] in shown


def test_costs_of_a_file_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({**to_json(COSTS), "measured": {"on": "a large one", "at": "now"}}))
    assert read_costs(file)[0] == COSTS
    before = {name: value for name, value in to_json(COSTS).items() if name != "busy_transactions"}
    (older := tmp_path / "older.json").write_text(json.dumps(before))
    assert read_costs(older)[0] == replace(COSTS, busy_transactions=math.inf)
    done = run("--runs-per-second", 10, "--steps", 4, "--costs", file, "--json")
    found = json.loads(done.stdout)
    assert found["demand"]["worker_cores"] == pytest.approx(10 * 0.005 + 0.01)
    assert found["costs_measured_on"].startswith("a large one")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[", "costs.json"),
        ("[]", "costs.json"),
        ("{}", "costs.json costs.worker_cpu_seconds"),
        (json.dumps({**to_json(COSTS), "step_seconds": "soon"}), "costs.json step_seconds"),
        (json.dumps({**to_json(COSTS), "busy_transactions": -1}), "costs.json busy_transactions"),
        (json.dumps(to_json(COSTS)).replace("0.002", "-2"), "costs.json costs.worker_cpu"),
        (json.dumps(to_json(COSTS)).replace("0.002", "1e999"), "costs.json"),
    ],
)
def test_a_file_that_is_none_is_refused_by_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_costs(file)
    assert place in refused.value.problems[0].place
    with pytest.raises(InvalidInput):
        read_costs(tmp_path / "none.json")


def test_a_load_that_is_none_is_refused() -> None:
    done = run("--runs-per-second", "nan", "--steps", 5)
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.problems[0].place == "runs_per_second"


def test_sizes_have_decimal_units() -> None:
    assert [size(each) for each in (12, 1234, 5.6e9, 2.5e15, 3e18)] == [
        "12 B", "1.23 kB", "5.6 GB", "2.5 PB", "3,000 PB",
    ]  # fmt: skip
