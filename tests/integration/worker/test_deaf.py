"""A worker that is up and takes no messages ends, so that another one is started."""

from __future__ import annotations

import json
import time
from typing import Any

import redis
from hints import a_hint
from workbench import eventually

from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.canary import EXIT_CODE
from orchestrator.worker.messages import RedisHints


async def test_it_gives_its_runs_back_and_ends_and_the_next_one_takes_what_waits(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_DEAF="1", TINY_CANARY="0.1", TINY_DEADLINE="2")
    publisher = RedisHints(app)
    await publisher.publish([a_hint("checkout.hold")])
    eventually(lambda: client.llen("seen") == 1)
    client.set("deaf", "1")

    assert worker.wait(60) == EXIT_CODE
    assert "worker.deaf" in worker.log.read_text()
    assert [json.loads(each)[1] for each in client.lrange("drained", 0, -1)] == [1]
    client.delete("deaf")
    await publisher.publish([a_hint()])
    await publisher.close()
    start_worker(name="w2")
    eventually(lambda: client.llen("seen") == 2)


async def test_who_has_no_free_slot_is_not_deaf(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_CONCURRENCY="1", TINY_CANARY="0.05", TINY_DEADLINE="0.2")
    publisher = RedisHints(app)
    await publisher.publish([a_hint("checkout.hold"), a_hint("checkout.hold")])
    await publisher.close()
    eventually(lambda: client.llen("seen") == 1)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 1.0)  # five times as long as it would wait
    assert worker.alive()
