"""A deployment's next release under load, worker by worker, and back again: no run fails.

Two workers; their functions are in a folder that is replaced while they run, and each worker has
those that were there when it started. The second release changes a function (with a version),
adds a step with a new one, and publishes; then the first comes back. All the while runs are
submitted. Each function writes down what it did for which run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Deployment, end, wait_until
from tests.faults.test_new_release import HEAD
from tests.servers import as_environment

pytestmark = [pytest.mark.long, pytest.mark.broker, pytest.mark.timeout(600)]

TASKS = '''
"""Parcels, as release {release} handles them."""

import asyncio
import os
from typing import Any

from orchestrator import TaskContext, task


def note(context: TaskContext, what: str) -> None:
    """One line, whole or not at all."""
    line = f"{{context.run_id}} {{context.step_id}} {{context.attempt}} {{what}} {release}\\n"
    file = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


@task(name="pack", effects="keyed")
async def pack(context: TaskContext) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    note(context, "pack")
    return {{"label": "a label"}}


@task(name="post", effects="keyed"{version})
async def post(context: TaskContext, label: str) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    note(context, "post{which}")
    return {{}}


@task(name="unpack", effects="keyed")
async def unpack(context: TaskContext) -> None:
    note(context, "unpack")
'''
OLD_POST = '''

@task(name="post", effects="keyed")
async def old_post(context: TaskContext, label: str) -> dict[str, Any]:
    """For runs that began with the first release."""
    note(context, "post")
    return {}
'''
INSURE = """

@task(name="insure", effects="keyed")
async def insure(context: TaskContext) -> dict[str, Any]:
    await asyncio.sleep(0.1)
    note(context, "insure")
    return {}
"""
PACK = """      - stepId: pack
        operationId: $sourceDescriptions.tasks.pack
        outputs: {label: $response.body#/label}
        x-compensation: {operationId: $sourceDescriptions.tasks.unpack}
"""
INSURED = """      - stepId: insure
        operationId: $sourceDescriptions.tasks.insure
        x-compensation: {none: an insurance that nothing is posted with costs nothing}
"""
POST = """      - stepId: post
        operationId: $sourceDescriptions.tasks.post
        requestBody: {contentType: application/json, payload: {label: $steps.pack.outputs.label}}
        x-compensation: {none: what is posted is gone}
"""
SUBMIT = """
import asyncio, sys
from pathlib import Path
from orchestrator.cli.session import with_services
from orchestrator.service.submitting import Submission

async def submit(services):
    number = 0
    while not Path("enough").exists():
        number += 1
        wish = Submission(workflow="parcel", inputs={}, idempotency_key=f"p-{number}")
        (accepted,) = await services.submitter.submit([wish])
        with open("submitted", "a") as told:
            told.write(accepted.run_id + "\\n")
        await asyncio.sleep(0.1)

with_services(submit)
"""


def release(folder: Path, number: int) -> None:
    """Put a release's files where the others' were."""
    second = number == 2
    head = HEAD.replace("      required: [folder]\n", "").replace(
        "      properties: {folder: {type: string}}\n", "      properties: {}\n"
    )
    code = TASKS.format(
        release=number, version=", version=2" if second else "", which="2" if second else ""
    )
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "__init__.py").write_text(code + (OLD_POST + INSURE if second else ""))
    (folder / "config" / "workflows").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "workflows" / "parcel.arazzo.yaml").write_text(
        head + PACK + (INSURED if second else "") + POST
    )


@pytest.fixture
def running(tmp_path: Path, servers: dict[str, str]) -> Iterator[Deployment]:
    """The first release, up with two workers, and runs that are submitted all the while."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    env |= as_environment(servers)
    deployment = Deployment(
        folder=tmp_path, env=env | {"ORCHESTRATOR_FLOWER_PORT": "0", "COLUMNS": "160"}
    )
    release(tmp_path, 1)
    process = deployment.start("up", "--workers", "2", "--no-flower", "--json")
    submitter = None
    try:
        wait_until((tmp_path / ".orchestrator" / "up.json").exists, "up.json", seconds=120)
        deployment.ask("workflows", "publish", "config/workflows")
        submitter = subprocess.Popen(
            [sys.executable, "-c", SUBMIT], cwd=tmp_path, env=deployment.env
        )
        yield deployment
    finally:
        (tmp_path / "enough").touch()
        if submitter is not None:
            submitter.wait(timeout=60)
        end(process)


def test_forth_under_load_and_back_without_a_failed_run(running: Deployment) -> None:
    folder = running.folder
    some_more(folder)
    release(folder, 2)
    restart(running, "w1")  # one has the new code, one the old
    some_more(folder)
    running.ask("workflows", "publish", "config/workflows")
    running.ask("workflows", "alias", "set", "parcel", "canary", "2", "--share", "50")
    running.ask("workflows", "alias", "set", "parcel", "stable", "1")
    some_more(folder)
    running.ask("workflows", "alias", "set", "parcel", "stable", "2")
    some_more(folder)
    restart(running, "w2")
    some_more(folder)

    running.ask("workflows", "alias", "remove", "parcel", "canary")  # and back
    running.ask("workflows", "alias", "set", "parcel", "stable", "1")
    release(folder, 1)
    restart(running, "w1")
    some_more(folder)
    (folder / "enough").touch()
    begun = submitted(folder)
    wait_until(lambda: ended(running) == len(begun), "all to end", seconds=180)
    restart(running, "w2")

    runs = {each["id"]: each for each in running.ask("runs", "list", "--limit", "5000")}
    assert Counter(runs[each]["status"] for each in begun) == {"succeeded": len(begun)}
    judge(folder, {each: runs[each]["version"] for each in begun})

    # Nobody has the new code any more: who asks for it waits, and for nothing else.
    late = running.ask("submit", "parcel@2")["run_id"]
    wait_until(lambda: waits_for(running, late) is not None, "it to wait", seconds=60)
    assert waits_for(running, late) == "tasks.insure"
    release(folder, 2)
    restart(running, "w2")
    wait_until(lambda: view(running, late)["run"]["status"] == "succeeded", "it", seconds=60)
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert [(what, attempt) for run, _, attempt, what, _ in lines if run == late] == [
        ("pack", "1"), ("insure", "1"), ("post2", "1"),
    ]  # fmt: skip


def judge(folder: Path, versions: dict[str, int]) -> None:
    """What was done for each run: the steps of its version, in order, by the first attempt."""
    done = defaultdict(list)
    by = Counter[tuple[int, str]]()
    for line in (folder / "log").read_text().splitlines():
        run, _, attempt, what, by_release = line.split()
        done[run].append((what, attempt))
        by[versions[run], by_release] += 1
    wanted = {1: ["pack", "post"], 2: ["pack", "insure", "post2"]}
    for run, version in versions.items():
        assert done[run] == [(what, "1") for what in wanted[version]], (run, version)
    assert Counter(versions.values()).keys() == {1, 2}
    assert by.keys() == {(1, "1"), (1, "2"), (2, "1"), (2, "2")}, "both on both, side by side"


def restart(running: Deployment, name: str) -> None:
    """SIGTERM is the warm shutdown; `up` starts another one, with the files that there are."""
    state = running.folder / ".orchestrator" / "up.json"
    before = json.loads(state.read_text())["pids"][name]
    os.killpg(before, signal.SIGTERM)

    def started() -> bool:
        now = json.loads(state.read_text())["pids"].get(name)
        if now in (None, before):
            return False
        found = running.run("doctor", "--json").data  # whatever else it finds
        return any(str(each["name"]).startswith(f"worker {name}@") for each in found)

    wait_until(started, f"a new {name}", seconds=120)


def submitted(folder: Path) -> list[str]:
    file = folder / "submitted"
    return file.read_text().splitlines() if file.exists() else []


def some_more(folder: Path) -> None:
    """Until so many more runs have begun."""
    before = len(submitted(folder))
    wait_until(lambda: len(submitted(folder)) >= before + 20, "more runs", seconds=120)


def ended(running: Deployment) -> int:
    found = running.ask("runs", "list", "--limit", "5000")
    return sum(each["status"] in ("succeeded", "compensated", "abandoned") for each in found)


def view(running: Deployment, run_id: str) -> Any:
    return running.ask("runs", "show", run_id)


def waits_for(running: Deployment, run_id: str) -> Any:
    return view(running, run_id)["code"]
