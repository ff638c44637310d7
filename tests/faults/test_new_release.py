"""A deployment's new release while a run waits: the run goes on by the definition that it began."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Deployment, end, wait_until
from tests.servers import as_environment

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180)]

TASKS = '''
"""Parcels, as release {release} handles them."""

from pathlib import Path
from typing import Any

from orchestrator import RetryPolicy, task
from orchestrator.errors import NotLanded

PATIENT = RetryPolicy(max_attempts=1000)


def note(folder: str, what: str) -> None:
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{{what}} by {release}\\n")


@task(name="pack", effects="keyed")
def pack(folder: str) -> dict[str, Any]:
    note(folder, "packed")
    return {{"label": "label of {release}"}}


@task(name="collected", effects="none", retry=PATIENT)
async def collected(folder: str) -> dict[str, Any]:
    if not (Path(folder) / "collected").exists():
        raise NotLanded("nobody has come for it", retryable=True, retry_after_seconds=2.5)
    return {{}}


@task(name="post", effects="keyed")
def post(folder: str, label: str, insured: bool = False) -> dict[str, Any]:
    note(folder, f"posted with {{label}}{{' insured' if insured else ''}}")
    return {{}}
'''

INSURE = """

@task(name="insure", effects="keyed")
def insure(folder: str) -> dict[str, Any]:
    note(folder, "insured")
    return {}
"""

HEAD = """
arazzo: 1.0.1
info: {title: Parcels, version: 1.0.0}
sourceDescriptions:
  - {name: tasks, url: 'tasks:', type: openapi}
workflows:
  - workflowId: parcel
    inputs:
      type: object
      required: [folder]
      properties: {folder: {type: string}}
    steps:
"""


def document(*steps: str) -> str:
    return HEAD + "".join(textwrap.indent(step, "      ") for step in steps)


def step(name: str, **payload: str) -> str:
    given = {"folder": "$inputs.folder", **payload}
    lines = [
        f"- stepId: {name}",
        f"  operationId: $sourceDescriptions.tasks.{name}",
        f"  requestBody: {{contentType: application/json, payload: {json.dumps(given)}}}",
    ]
    if name == "pack":
        lines.append("  outputs: {label: $response.body#/label}")
    if name != "collected":
        lines.append("  x-compensation: {none: parcels are not unpacked}")
    return "\n".join(lines) + "\n"


LABEL = {"label": "$steps.pack.outputs.label"}
FIRST = document(step("pack"), step("collected"), step("post", **LABEL))
SECOND = document(step("pack"), step("insure"), step("collected"), step("post", **LABEL))


def release(folder: Path, name: str, workflow: str, more: str = "") -> None:
    """Put a release's files where the last one's were."""
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "__init__.py").write_text(TASKS.format(release=name) + more)
    (folder / "config" / "workflows").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "workflows" / "parcel.arazzo.yaml").write_text(workflow)


@pytest.fixture
def running(tmp_path: Path, servers: dict[str, str]) -> Iterator[Deployment]:
    """The first release, up with one worker and published."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    env |= as_environment(servers)
    deployment = Deployment(
        folder=tmp_path, env=env | {"ORCHESTRATOR_FLOWER_PORT": "0", "COLUMNS": "160"}
    )
    release(tmp_path, "first", FIRST)
    process = deployment.start("up", "--workers", "1", "--json")
    try:
        wait_until((tmp_path / ".orchestrator" / "up.json").exists, "up.json", seconds=60)
        deployment.ask("workflows", "publish", "config/workflows")
        yield deployment
    finally:
        end(process)


def test_a_run_keeps_its_definition_through_a_new_release(running: Deployment) -> None:
    old = submitted(running, "old")
    wait_until(lambda: show(running, old)["run"]["status"] == "waiting", "it to wait", seconds=60)

    release(running.folder, "second", SECOND, INSURE)
    restart_worker(running)
    running.ask("workflows", "publish", "config/workflows")
    new = submitted(running, "new")
    wait_until(lambda: show(running, new)["run"]["status"] == "waiting", "that, too", seconds=60)

    for name in ("old", "new"):
        (running.folder / name / "collected").touch()
    first, second = settled(running, old), settled(running, new)

    assert (first["run"]["status"], first["run"]["version"]) == ("succeeded", 1)
    assert [link["step_id"] for link in first["forward"]] == ["pack", "collected", "post"]
    # What it had done before is neither repeated nor forgotten; what it does now is the new code's.
    assert log(running, "old") == ["packed by first", "posted with label of first by second"]

    assert (second["run"]["status"], second["run"]["version"]) == ("succeeded", 2)
    assert [link["step_id"] for link in second["forward"]] == [
        "pack", "insure", "collected", "post",
    ]  # fmt: skip
    assert log(running, "new") == [
        "packed by second", "insured by second", "posted with label of second by second",
    ]  # fmt: skip


def submitted(running: Deployment, name: str) -> str:
    folder = running.folder / name
    folder.mkdir()
    said = running.run("submit", "parcel", "--input", f"folder={folder}", "--json")
    assert said.code == 0, said
    run_id: str = said.data["run_id"] if "run_id" in said.data else said.data["run"]["id"]
    return run_id


def restart_worker(running: Deployment) -> None:
    """SIGTERM is the warm shutdown; `up` starts another one in its place."""
    state = running.folder / ".orchestrator" / "up.json"
    before = json.loads(state.read_text())["pids"]["w1"]
    os.killpg(before, signal.SIGTERM)
    wait_until(
        lambda: json.loads(state.read_text())["pids"]["w1"] != before, "a new worker", seconds=60
    )


def show(running: Deployment, run_id: str) -> Any:
    return running.ask("runs", "show", run_id)


def settled(running: Deployment, run_id: str) -> Any:
    said = running.run("runs", "watch", run_id, "--json", "--every", "0.1", "--seconds", "60")
    return json.loads(said.out.splitlines()[-1])


def log(running: Deployment, name: str) -> list[str]:
    return (running.folder / name / "log").read_text().splitlines()
