"""Thousands of runs, no worker: Flower shows them, and one ordinary Celery worker settles them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.flower.deployment import Deployment, deployment, eventually
from tests.sweeps import so_many, sweep

RUNS = so_many(1_500, whole=10_000)
PURGED = 2_000

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow, pytest.mark.broker]


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with default settings."""
    with deployment(tmp_path / "deployment") as made:
        yield made


def submit(here: Deployment, runs: int) -> None:
    file = here.folder / "runs.jsonl"
    file.write_text("".join(json.dumps({"inputs": {"number": n}}) + "\n" for n in range(runs)))
    assert here.ask("submit", "trifle", "--file", file, seconds=120)["accepted"] == runs


def wait_for_all(here: Deployment, runs: int) -> float:
    """Seconds until every run has succeeded."""
    began = time.monotonic()
    sql = "SELECT 1 WHERE (SELECT count(*) FROM runs WHERE settled_at IS NOT NULL) >= ?"
    eventually(lambda: here.rows(sql, runs), what=f"{runs} settled runs", seconds=250)
    seconds = time.monotonic() - began
    assert here.rows("SELECT status, count(*) FROM runs GROUP BY status") == [("succeeded", runs)]
    return seconds


@sweep
def test_depth_without_workers_and_one_worker_that_settles_all(
    ordinary: Deployment, record_property: pytest.RecordProperty
) -> None:
    """The queue's depth means runs, also while nobody announces the queue."""
    flower = ordinary.flower()
    submit(ordinary, RUNS)
    assert flower.depths() == {
        "dead_letter": 0, "default.compensation": 0, "default.forward": RUNS, "default.urgent": 0,
        "maintenance": 0,
    }  # fmt: skip
    with urllib.request.urlopen(f"{flower.url}/broker", timeout=20) as page:
        assert f"{RUNS}" in page.read().decode()

    ordinary.worker()
    seconds = wait_for_all(ordinary, RUNS)
    record_property("runs_per_second", round(RUNS / seconds))
    assert flower.depths()["default.forward"] == 0


@pytest.mark.long
def test_a_purged_backlog_is_found_by_the_worker_itself(ordinary: Deployment) -> None:
    """No message is left at all; every worker sweeps."""
    flower = ordinary.flower()
    submit(ordinary, PURGED)
    ordinary.celery("purge", "-f")
    assert flower.depths()["default.forward"] == 0
    ordinary.worker()
    wait_for_all(ordinary, PURGED)


def test_flower_as_celery_starts_it_only_looks(ordinary: Deployment) -> None:
    """Read-only, and nowhere but on this machine."""
    flower = ordinary.flower()
    ordinary.worker()
    (name,) = eventually(lambda: flower.get("/api/workers?refresh=1"), what="the worker")
    request = urllib.request.Request(f"{flower.url}/api/worker/shutdown/{name}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=20)
