"""`orchestrator bench engine` prints the figures that it promises; how good they are is open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.steady import HeldStill

ROOT = Path(__file__).parents[2]
COMMAND = ("-c", "from orchestrator.cli.main import run; run()", "bench", "engine")
MODULE = ("-m", "tests.bench.engine")
"""What the command becomes."""
FIGURES = {
    "runs_per_second", "steps_per_second", "p50_ms", "p99_ms", "cpu_seconds_per_1000_steps",
    "peak_memory_mib",
}  # fmt: skip

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]


def bench(*options: object, program: tuple[str, ...] = MODULE) -> dict[str, Any]:
    """One call that must succeed; exactly one JSON object is on its standard output.

    One worker process unless told otherwise: what is shown does not depend on how many there are.
    """
    if "--workers" not in options:
        options = (*options, "--workers", 1)
    done = subprocess.run(
        [sys.executable, *program, "--json", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.long
@pytest.mark.postgres
def test_the_same_work_beside_a_chain() -> None:
    found = bench("--load", "noop", "--runs", 20, "--pairs", 1, program=COMMAND)
    assert found["load"] == "noop"
    assert found["ours"].keys() >= FIGURES
    assert found["other"].keys() >= FIGURES
    assert all(value > 0 for name, value in found["ours"].items() if name in FIGURES)
    assert found["other"]["system"] == "celery-chain"
    assert found["other"]["variant"] in {"prefork", "gevent"}
    assert found["ratio"] == found["ratios"][0]
    assert found["settings"]["database"]["fsync"] == "on"
    assert found["settings"]["database"]["synchronous_commit"] == "on"
    assert {ceiling["system"] for ceiling in found["ceiling"]} == {"inline"}


@pytest.mark.long
def test_calls_on_the_default_database(held_still: HeldStill) -> None:
    """The stub says how busy it was."""
    options = ("--load", "io20", "--runs", 20, "--pairs", 1, "--db", "sqlite")
    found = bench(*options, "--against", "none")
    assert found["ours"].keys() >= FIGURES
    assert found["ours"]["p50_ms"] >= 5 * 20
    assert found["ours"]["stub_cpu_share"] > 0
    assert found["ours"]["low_load_p50_ms"] >= 5 * 20
    assert found["ratio"] is None
    held_still(found["ours"]["stub_cpu_share"] < 0.5, "the stub had no time to spare")
    steps, requests = (
        found["ours"][name] for name in ("steps_per_second", "stub_requests_per_cpu_second")
    )
    held_still(requests > steps, f"the stub can do {requests} a second for {steps} steps")


@pytest.mark.long
@pytest.mark.postgres
def test_both_databases_every_step_a_message() -> None:
    options = ("--load", "noop", "--runs", 20, "--pairs", 1, "--db", "both", "--against", "none")
    found = bench(*options, "--max-inline-steps", 0)
    assert found["sqlite"].keys() >= FIGURES
    assert found["sqlite_over_postgres"] > 0
    assert found["settings"]["workers"] == {"max_inline_steps": 0}


@pytest.mark.long
@pytest.mark.postgres
def test_few_and_many_finished_runs() -> None:
    """The made ones are finished, and hide nothing from the statements that were executed."""
    options = ("--load", "history", "--runs", 20, "--pairs", 1, "--explain")
    found = bench(*options, "--few", 1000, "--many", 2000, "--details", 1000)
    few, many = found["history"]["few"], found["history"]["many"]
    assert (few["finished_runs"], many["finished_runs"]) == (1000, 2000)
    assert many["with_steps_attempts_and_audit"] == 1000
    assert found["ratio"] == found["ratios"][0] > 0
    assert any("INSERT INTO runs" in one["query"] for one in found["statements"])


@pytest.mark.long
def test_workers_that_join_and_are_drained_lose_nothing() -> None:
    options = ("--load", "io200", "--runs", 300, "--workers", 2, "--pairs", 1, "--db", "sqlite")
    found = bench(*options, "--join-and-drain")
    assert found["kept"]
    told = found["join_and_drain"]
    assert (told["joined"], told["drained"], told["runs"]) == (2, 2, 300)
    assert (told["lost"], told["twice"], told["calls_missing"]) == (0, 0, 0)
    assert found["by_workers"].keys() == {"2"}


@pytest.mark.long
def test_flower_sees_what_is_measured() -> None:
    options = ("--load", "noop", "--runs", 50, "--pairs", 1, "--db", "sqlite")
    found = bench(*options, "--flower")
    assert found["ratio"] > 0
    assert found["ours"]["tasks_in_flower"] >= 50


@pytest.mark.long
def test_a_profile_by_part(tmp_path: Path) -> None:
    file = tmp_path / "profile.svg"
    options = ("--load", "noop", "--runs", 300, "--pairs", 1, "--db", "sqlite")
    found = bench(*options, "--against", "none", "--profile", file)
    assert sum(found["profile"].values()) == pytest.approx(1, abs=0.01)
    assert found["profile"].keys() >= {"store", "engine"}
    assert "<svg" in file.read_text()


@pytest.mark.long
def test_submission_on_a_core_of_its_own() -> None:
    options = ("--load", "submit", "--runs", 200, "--pairs", 1, "--db", "sqlite", "--batch", 50)
    found = bench(*options, "--servers-on", "same")
    assert found["ratio"] > 0
    assert found["cores"]["submitter"] == found["cores"]["servers"]
    assert len(found["cores"]["submitter"]) == 1


@pytest.mark.parametrize(
    "load",
    ["fail", *(pytest.param(each, marks=pytest.mark.long) for each in ("latency", "inflight"))],
)
def test_every_other_load(load: str) -> None:
    found = bench("--load", load, "--runs", 20, "--pairs", 1, "--db", "sqlite", "--against", "none")
    assert found["load"] == load
    assert found["ours"]["runs_per_second"] > 0
    assert ("p50_ms" in found["ours"]) == (load in {"fail", "latency"})
    assert ("memory_of_a_run_kib" in found["ours"]) == (load == "inflight")
