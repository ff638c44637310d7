"""A schedule of every second on real workers, one of which is killed: a time has one run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Deployment, end, wait_until
from tests.servers import as_environment

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]

TASKS = '''
"""What is done every second."""

from orchestrator import task


@task(name="tick", effects="none")
def tick(at: str) -> dict[str, str]:
    return {"at": at}
'''
DOCUMENT = """
arazzo: 1.0.1
info: {title: Ticks, version: 1.0.0}
sourceDescriptions: [{name: tasks, url: 'tasks:', type: openapi}]
workflows:
  - workflowId: ticks
    inputs: {type: object, required: [at], properties: {at: {type: string}}}
    steps:
      - stepId: tick
        operationId: $sourceDescriptions.tasks.tick
        requestBody: {contentType: application/json, payload: {at: $inputs.at}}
"""


@pytest.fixture
def running(tmp_path: Path, servers: dict[str, str]) -> Iterator[Deployment]:
    """Up with two workers and published."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    env |= as_environment(servers)
    deployment = Deployment(
        folder=tmp_path, env=env | {"ORCHESTRATOR_FLOWER_PORT": "0", "COLUMNS": "160"}
    )
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text(TASKS)
    workflows = tmp_path / "config" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / "ticks.arazzo.yaml").write_text(DOCUMENT)
    process = deployment.start("up", "--workers", "2", "--json")
    try:
        wait_until((tmp_path / ".orchestrator" / "up.json").exists, "up.json", seconds=60)
        deployment.ask("workflows", "publish", "config/workflows")
        yield deployment
    finally:
        end(process)


def test_each_second_has_one_run_whoever_is_killed(running: Deployment) -> None:
    running.ask(
        "schedules", "set", "ticks", "--workflow", "ticks", "--every", "1s", "--time-input", "at",
        "--overlap", "allow", "--catch-up", "all", "--reason", "to see",
    )  # fmt: skip
    wait_until(lambda: len(begun(running)) >= 3, "the first runs", seconds=60)
    pids = json.loads((running.folder / ".orchestrator" / "up.json").read_text())["pids"]
    os.killpg(pids["w1"], signal.SIGKILL)
    before = len(begun(running))
    wait_until(lambda: len(begun(running)) >= before + 5, "more of them", seconds=90)
    running.ask("schedules", "pause", "ticks", "--reason", "seen enough")
    wait_until(lambda: all(each["state"] == "started" for each in told(running)), "all begun",
               seconds=60)  # fmt: skip

    firings = told(running)
    times = sorted(datetime.fromisoformat(each["at"]) for each in firings)
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
    runs = {each["run_id"] for each in firings}
    assert len(runs) == len(firings)
    wait_until(lambda: statuses(running) == {"succeeded"}, "all to end", seconds=60)
    assert runs == {each["id"] for each in listed(running)}


def told(running: Deployment) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.ask("schedules", "show", "ticks", "--last", "500")[
        "firings"
    ]
    return found


def begun(running: Deployment) -> list[dict[str, Any]]:
    return [each for each in told(running) if each["state"] == "started"]


def listed(running: Deployment) -> list[dict[str, Any]]:
    found = running.ask("runs", "list", "--limit", "500")
    runs: list[dict[str, Any]] = found["runs"] if isinstance(found, dict) else found
    return runs


def statuses(running: Deployment) -> set[str]:
    return {each["status"] for each in listed(running)}
