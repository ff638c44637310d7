"""Watchers may ask, nobody may steer: by Celery's remote control and by Flower's buttons."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hints import a_hint
from workbench import HERE, ROOT, Process, eventually

from orchestrator.embedded.address import free_port
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.messages import RedisHints
from orchestrator.worker.panel import REMOVED_COMMANDS


async def test_steering_commands_change_nothing(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_CONCURRENCY="1")
    publisher = RedisHints(app)
    held, waiting = a_hint("checkout.hold"), a_hint("checkout.noop", queue="default.compensation")
    await publisher.publish([held])
    eventually(lambda: client.llen("seen") == 1)

    control = app.control
    control.revoke([held.hop_id, waiting.hop_id], terminate=True, signal="SIGKILL")
    control.terminate(held.hop_id)
    control.shutdown()
    control.pool_shrink(1)
    control.cancel_consumer("default.compensation")
    control.add_consumer("dead_letter")
    control.rate_limit(held.task, "1/h")
    control.time_limit(held.task, soft=1, hard=1)
    control.broadcast("election", arguments={"id": "1", "topic": "t", "action": None})
    control.broadcast(
        "hello", arguments={"from_node": "x@y", "revoked": {waiting.hop_id: time.time()}}
    )

    inspect = control.inspect(timeout=2.0)
    assert [run["id"] for run in first(inspect.active())] == [held.hop_id]
    assert first(inspect.revoked()) == []
    assert names(first(inspect.active_queues())) == {
        "default.forward",
        "default.urgent",
        "default.compensation",
        "maintenance",
        "dead_letter",
    }
    assert first(inspect.stats())["pool"]["max-concurrency"] == 1
    assert worker.alive()
    client.lpush("dead_letter", "left alone")
    await asyncio.sleep(0.2)
    assert client.llen("dead_letter") == 1
    await publisher.close()


def test_the_command_line_does_not_offer_them(app: OrchestratorApp, broker_url: str) -> None:
    env = {"PYTHONPATH": f"{ROOT}:{HERE}", "TINY_BROKER_URL": broker_url, "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tiny_worker", "control", "--list"],
        capture_output=True, text=True, timeout=60, check=True, cwd=HERE,
        env=env,
    )  # fmt: skip
    offered = set(run.stdout.split())
    assert "enable_events" in offered
    assert not offered & REMOVED_COMMANDS


async def test_a_hint_whose_id_was_revoked_runs(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    start_worker()
    hint = a_hint()
    app.control.revoke(hint.hop_id)
    await asyncio.sleep(0.2)

    publisher = RedisHints(app)
    await publisher.publish([hint])

    eventually(lambda: client.llen("seen") == 1)
    await publisher.close()


# --- Flower ---------------------------------------------------------------------------------------


class Flower:
    """A Flower server on the tiny app."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            text = response.read().decode()
        return json.loads(text) if path.startswith("/api") else text

    def post(self, path: str, **form: str) -> tuple[int, str]:
        data = urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(self.url + path, data=data, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def flower(broker_url: str, tmp_path: Path) -> Iterator[Flower]:
    port = free_port()
    log = (tmp_path / "flower.log").open("w")
    process = Process(
        [
            *(sys.executable, "-m", "celery", "-A", "tiny_worker", "flower"),
            *("--address=127.0.0.1", f"--port={port}", "--inspect_timeout=2000"),
        ],
        log=log,
        env={
            "PYTHONPATH": f"{ROOT}:{HERE}",
            "TINY_BROKER_URL": broker_url,
            "FLOWER_UNAUTHENTICATED_API": "true",
        },
    )
    served = Flower(f"http://127.0.0.1:{port}")
    try:
        eventually(lambda: _answers(served), seconds=30, what="Flower answers")
        yield served
    finally:
        process.stop()
        log.close()


def _answers(flower: Flower) -> bool:
    try:
        flower.get("/healthcheck")
    except OSError:
        return False
    return True


async def test_flower_shows_queues_and_steps_and_its_buttons_do_nothing(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, flower: Flower
) -> None:
    worker = start_worker(TINY_CONCURRENCY="2")
    publisher = RedisHints(app)
    held = [a_hint("checkout.hold"), a_hint("checkout.hold")]
    waiting = [a_hint("checkout.noop") for _ in range(3)]
    eventually(lambda: flower.get("/api/workers?refresh=1"), what="Flower sees the worker")
    client.lpush("dead_letter", "one", "two")
    await publisher.publish([*held, *waiting])
    eventually(lambda: client.llen("seen") == 2)

    depths = {q["name"]: q["messages"] for q in flower.get("/api/queues/length")["active_queues"]}
    assert depths["default.forward"] == 3
    assert depths["dead_letter"] == 2
    page = flower.get("/broker")
    assert "dead_letter" in page
    assert "default.forward" in page
    tasks = eventually(lambda: _named(flower, "checkout.hold", 2))
    assert {task["root_id"] for task in tasks.values()} == {hint.run_id for hint in held}
    (node,) = flower.get("/api/workers?refresh=1&workername=w1@test").values()
    assert {run["id"] for run in node["active"]} == {hint.hop_id for hint in held}

    flower.post(f"/api/task/revoke/{held[0].hop_id}?terminate=true")
    flower.post(f"/api/task/revoke/{waiting[0].hop_id}")
    flower.post("/api/worker/shutdown/w1@test")
    flower.post("/api/worker/pool/shrink/w1@test", n="1")
    flower.post("/api/worker/queue/cancel-consumer/w1@test", queue="default.forward")

    await asyncio.sleep(0.5)
    assert worker.alive()
    stats = first(app.control.inspect(timeout=2.0).stats())
    assert stats["pool"]["hops"] == 2
    assert stats["pool"]["max-concurrency"] == 2
    assert first(app.control.inspect(timeout=2.0).revoked()) == []
    await publisher.close()


def _named(flower: Flower, name: str, count: int) -> dict[str, Any] | None:
    tasks = {k: v for k, v in flower.get("/api/tasks").items() if v["name"] == name}
    return (
        tasks
        if len(tasks) == count and all(v["state"] == "STARTED" for v in tasks.values())
        else None
    )


def first(reply: dict[str, Any] | None) -> Any:
    assert reply, "no worker answered"
    return next(iter(reply.values()))


def names(queues: list[dict[str, Any]]) -> set[str]:
    return {queue["name"] for queue in queues}
