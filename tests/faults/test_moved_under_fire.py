"""Runs that sleep are moved to a version whose last step fails, while a worker is killed.

Real processes. Each function writes down what it did for which run; the book says whether each step
was undone by the version that did it, in reverse, and once.
"""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Deployment, end, wait_until
from tests.servers import as_environment

pytestmark = [pytest.mark.long, pytest.mark.broker, pytest.mark.timeout(600)]

RUNS = 20
TASKS = '''
"""Parcels."""

import os
from datetime import timedelta
from typing import Any

from orchestrator import NotLanded, TaskContext, Workflow, task


def note(context: TaskContext, what: str) -> None:
    """One line, whole or not at all."""
    file = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{context.run_id} {context.idempotency_key} {what}\\n".encode())
    os.close(file)


@task(effects="keyed")
async def pack(context: TaskContext) -> dict[str, Any]:
    note(context, "pack")
    return {"label": "a label"}


@task(effects="keyed")
async def unpack(context: TaskContext, label: str) -> None:
    note(context, "unpack")


@task(effects="keyed")
async def recycle(context: TaskContext, label: str) -> None:
    note(context, "recycle")


@task(effects="keyed")
async def insure(context: TaskContext) -> dict[str, Any]:
    note(context, "insure")
    return {"policy": "a policy"}


@task(effects="keyed")
async def cancel(context: TaskContext, policy: str) -> None:
    note(context, "cancel")


@task(effects="keyed")
async def post(context: TaskContext, label: str) -> dict[str, Any]:
    raise NotLanded("the post is on strike")


REST = timedelta(seconds=60)
'''
FIRST = (
    'Workflow("parcel", inputs={"order": str}).step(pack, compensate=unpack).sleep(REST, id="rest")'
)
SECOND = (
    'Workflow("parcel", inputs={"order": str}).step(pack, compensate=recycle)'
    '.sleep(REST, id="rest").step(insure, compensate=cancel)'
    '.step(post, no_compensation="posted is posted")'
)


def publish(running: Deployment, workflow: str) -> None:
    (running.folder / "tasks" / "__init__.py").write_text(f"{TASKS}\n\nparcel = {workflow}\n")
    running.ask("workflows", "publish", "tasks")


@pytest.fixture
def running(tmp_path: Path, servers: dict[str, str]) -> Iterator[Deployment]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    env |= as_environment(servers)
    deployment = Deployment(folder=tmp_path, env=env | {"ORCHESTRATOR_FLOWER_PORT": "0"})
    (tmp_path / "tasks").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text(f"{TASKS}\n\nparcel = {FIRST}\n")
    process = deployment.start("up", "--workers", "2", "--no-flower", "--json")
    try:
        wait_until((tmp_path / ".orchestrator" / "up.json").exists, "up.json", seconds=120)
        yield deployment
    finally:
        end(process)


def test_each_step_is_undone_by_the_version_that_did_it(running: Deployment) -> None:
    publish(running, FIRST)
    (running.folder / "wishes.jsonl").write_text('{"inputs": {"order": "o"}}\n' * RUNS)
    running.ask("submit", "parcel", "--file", "wishes.jsonl")

    def count(*statuses: str) -> int:
        found = running.ask("runs", "list", "--limit", "1000")
        return sum(each["status"] in statuses for each in found)

    wait_until(lambda: count("waiting") == RUNS, "all to rest", seconds=120)
    publish(running, SECOND)
    job = running.ask(
        "runs", "migrate", "--where", "workflow=parcel and status=waiting", "--to", "2",
        "--reason", "a fixed undo", "--yes", "--detach",
    )  # fmt: skip
    state = json.loads((running.folder / ".orchestrator" / "up.json").read_text())
    os.killpg(state["pids"]["w1"], signal.SIGKILL)
    wait_until(lambda: count("compensated", "succeeded") == RUNS, "all to end", seconds=240)

    done = running.ask("jobs", "show", job["id"])
    book = defaultdict(list)
    for line in (running.folder / "log").read_text().splitlines():
        run, key, what = line.split()
        if (key, what) not in book[run]:  # a worker that was killed may have done it twice
            book[run].append((key, what))
    moved = [[what for _, what in told] for told in book.values()]
    counts = (done["done"], done["refused"], len(moved))
    assert counts == (RUNS, 0, RUNS), done["items"][:2]
    assert all(each == ["pack", "insure", "cancel", "unpack"] for each in moved), moved
