"""Two brokers, a lane each: a run goes over both; the outage of one stops its lane alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.valkey import start_valkey
from tests.acceptance.conftest import Deployment, end, make_deployment, wait_until

BOTH = """\
arazzo: 1.0.1
info: {title: Over two brokers, version: 1.0.0}
sourceDescriptions:
  - {name: tasks, url: 'tasks:', type: openapi}
workflows:
  - workflowId: outer
    inputs: &folder
      {type: object, required: [folder], properties: {folder: {type: string}, name: {type: string, default: a}}}
    steps:
      - stepId: inner
        workflowId: inner
        x-child: {}
        parameters: [{name: folder, value: $inputs.folder}]
      - stepId: after
        operationId: $sourceDescriptions.tasks.check_note
        requestBody: {contentType: application/json, payload: {folder: $inputs.folder, verdict: good}}
  - workflowId: inner
    x-lane: reports
    inputs: *folder
    steps:
      - stepId: written
        operationId: $sourceDescriptions.tasks.write_note
        requestBody: {contentType: application/json, payload: {folder: $inputs.folder, name: $inputs.name}}
        x-compensation:
          operationId: $sourceDescriptions.tasks.erase_note
          requestBody: {contentType: application/json, payload: {folder: $inputs.folder, name: $inputs.name}}
  - workflowId: plain
    inputs: *folder
    steps:
      - stepId: checked
        operationId: $sourceDescriptions.tasks.check_note
        requestBody: {contentType: application/json, payload: {folder: $inputs.folder, verdict: good}}
"""  # noqa: E501 - a document


@contextmanager
def workers(deployment: Deployment, *lanes: str) -> Iterator[list[subprocess.Popen[str]]]:
    started = [deployment.start("worker", "--lanes", lane, "--name", f"w-{lane}") for lane in lanes]
    try:
        yield started
    finally:
        for process in started:
            end(process, signal.SIGTERM)


@contextmanager
def two_brokers(folder: Path) -> Iterator[tuple[Child, Child]]:
    started: list[Child] = []
    try:
        for name in ("home", "reports"):
            (folder / name).mkdir()
            started.append(start_valkey(folder / name, log_path=folder / f"{name}.log"))
        yield started[0], started[1]
    finally:
        stop_all(started)


def submit(deployment: Deployment, workflow: str) -> str:
    given = ("--input", f"folder={deployment.notes}")
    run_id: str = deployment.ask("submit", workflow, *given)["run_id"]
    return run_id


def status(deployment: Deployment, run_id: str) -> str:
    found: str = deployment.ask("runs", "show", run_id)["run"]["status"]
    return found


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.slow
def test_a_lane_goes_on_while_the_broker_of_another_is_away(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path / "deployment")
    (deployment.folder / "config" / "workflows" / "both.arazzo.yaml").write_text(BOTH)
    with two_brokers(tmp_path) as (home, reports):
        deployment.env.update(
            ORCHESTRATOR_BROKER_URL=home.spec.address,
            ORCHESTRATOR_BROKER_URLS=json.dumps({"reports": reports.spec.address}),
            ORCHESTRATOR_LANES=json.dumps(["default", "reports"]),
        )
        refused = deployment.run("worker")
        assert (refused.code, "reports on redis://" in refused.err) == (3, True)
        deployment.ask("workflows", "publish", "config/workflows")
        with workers(deployment, "default", "reports") as (_, far):
            over_both = submit(deployment, "outer")
            wait_until(lambda: status(deployment, over_both) == "succeeded", "a run over both")
            brokers = [each for each in deployment.ask("doctor") if each["name"] == "broker"]
            assert len({each["found"].partition(" answers")[0] for each in brokers}) == 2

            os.kill(reports.pid, signal.SIGKILL)
            held = [submit(deployment, "inner") for _ in range(3)]
            served = [submit(deployment, "plain") for _ in range(3)]
            for run_id in served:
                wait_until(lambda r=run_id: status(deployment, r) == "succeeded", "the other lane")
            assert {status(deployment, run_id) for run_id in held} == {"pending"}
            assert far.poll() is None

            port = int(reports.spec.address.rpartition(":")[2].partition("/")[0])
            again = start_valkey(tmp_path / "reports", log_path=tmp_path / "again.log", port=port)
            try:
                for run_id in held:
                    wait_until(lambda r=run_id: status(deployment, r) == "succeeded", "its own")
            finally:
                stop_all([again])
