"""One Valkey for all tests here, emptied before each; workers that end with their test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu.pools
import pytest
import redis

sys.path.insert(0, str(Path(__file__).resolve().parent))

from workbench import Process, eventually, valkey, worker

from orchestrator.worker.app import OrchestratorApp, make_app

StartWorker = Callable[..., Process]


@pytest.fixture(scope="session")
def _server() -> Iterator[str]:
    with valkey() as url:
        yield url


@pytest.fixture
def broker_url(_server: str) -> str:
    with redis.Redis.from_url(_server) as client:
        client.flushall()
    return _server


@pytest.fixture
def client(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def app(broker_url: str) -> Iterator[OrchestratorApp]:
    app = make_app(broker_url=broker_url, python_tasks=["tasks.price"])
    yield app
    app.close()
    kombu.pools.reset()  # one per process: the next test may have cut its connections


@pytest.fixture
def start_worker(broker_url: str, client: redis.Redis, tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker and wait until it answers; its output is in `process.log`."""
    started: list[Process] = []

    def start(*, name: str = "w1", ready: bool = True, **options: object) -> Process:
        log = tmp_path / f"{name}.log"
        with log.open("w") as stream:
            process = worker(broker_url, name=name, log=stream, **options)
        process.log = log
        started.append(process)
        if ready:
            eventually(
                lambda: client.execute_command("PUBSUB", "NUMPAT") > 0 or not process.alive(),
                what="the worker listens to remote control",
            )
            assert process.alive(), log.read_text()
        return process

    yield start
    for process in started:
        process.stop()
