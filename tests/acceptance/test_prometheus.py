"""A real Prometheus scrapes a worker and the REST face: every query of the dashboard has an answer.

The unit tests hold each name and label of a query against the table of metrics; whether what is
served can be scraped, and a query evaluated, only Prometheus itself can tell.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.embedded.address import free_port
from orchestrator.telemetry.boards import ALERTS, ROWS
from orchestrator.wiring_services import open_services
from tests.faults.chaos.stage import (
    Limits,
    Mood,
    Scene,
    Stage,
    new_folder,
    prepare,
    remove,
    set_up,
)
from tests.faults.chaos.submission import Submissions
from tests.faults.workload import seeds

ROOT = Path(__file__).parents[2]
COMMAND = "from orchestrator.cli.main import run; run()"
RUNS = 60
WITHIN_SECONDS = 60.0
QUERIES = {query for _, panels in ROWS for panel in panels for query, _ in panel.queries}


def program(name: str) -> str:
    """Where it is; without it there is nothing to show, and in CI that is a failure."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool = program("promtool")
    for command in (
        ["check", "rules", "alerts.yaml"],
        ["check", "config", "prometheus.yaml"],
    ):
        done = subprocess.run(
            [promtool, *command], cwd=ROOT / "deploy" / "prometheus", capture_output=True,
            text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout + done.stderr


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=stream, stderr=stream)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)


def configuration(targets: dict[str, int]) -> str:
    """Each second, where a deployment has fifteen."""
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in targets.items()
    ]
    return json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs})  # is YAML


def answered(port: int, query: str) -> bool:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=5) as response:
        found: dict[str, Any] = json.load(response)
    assert found["status"] == "success", found
    values = [float(each["value"][1]) for each in found["data"]["result"]]
    return any(value == value for value in values)  # not all NaN: 0 of 0 is no answer


def unanswered(port: int) -> set[str]:
    """Queries without an answer, once there is one to all, or it has taken too long."""
    left, until = set(QUERIES), time.monotonic() + WITHIN_SECONDS
    while left and time.monotonic() < until:
        try:
            left = {query for query in left if not answered(port, query)}
        except OSError:  # it does not listen yet
            time.sleep(0.2)
        time.sleep(0.3)
    return left


async def submit(stage: Stage) -> None:
    await prepare(stage)
    async with open_services(stage.settings) as services:
        await Submissions().spread(services.submitter, list(seeds(7, RUNS)), seconds=0)


@pytest.mark.broker
@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_query_of_the_dashboard_has_an_answer() -> None:
    prometheus, metrics_port = program("prometheus"), free_port()
    scene = Scene(
        database="postgres", workers=1, limits=Limits(rate=30, concurrency=2),
        mood=Mood(latency_seconds=(0.05, 0.1)),
        settings={"metrics_port": metrics_port, "gate_patience_seconds": 1.0},
    )  # fmt: skip
    folder = new_folder()
    with set_up(scene, folder) as stage:
        stage.supervisor.start()
        asyncio.run(submit(stage))
        face, port = free_port(), free_port()
        config = folder / "prometheus.json"
        config.write_text(configuration({"face": face, "worker": metrics_port}))
        own = {
            "ORCHESTRATOR_DATABASE_URL": stage.settings.database_url,
            # No replica, so never asked; how far behind such a one is has an answer, too.
            "ORCHESTRATOR_DATABASE_READ_URL": stage.settings.database_url,
            "ORCHESTRATOR_BROKER_URL": stage.broker.url,
            "ORCHESTRATOR_STATE_DIR": str(folder),
            "ORCHESTRATOR_CONFIG_DIR": str(folder / "config"),
        }
        serving = [sys.executable, "-c", COMMAND, "api", "--port", str(face)]
        scraping = [
            prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        with (
            running(serving, own, folder / "logs" / "face.log"),
            running(scraping, {}, folder / "logs" / "prometheus.log"),
        ):
            assert unanswered(port) == set()
    remove(folder)
