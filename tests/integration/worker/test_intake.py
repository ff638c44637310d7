"""No message ends a worker; the next one is handled."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import Any

import redis
from hints import a_hint
from workbench import eventually

from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.envelope import envelope
from orchestrator.worker.messages import RedisHints

QUEUE = "default.forward"


def changed(*, body: Any = ..., drop: str | None = None, **headers: Any) -> str:
    """A good envelope with one thing wrong."""
    message = json.loads(envelope(a_hint(), origin="gen1@test"))
    message["headers"] |= headers
    if body is not ...:
        message["body"] = b64encode(json.dumps(body).encode()).decode()
    if drop in message["properties"]:
        del message["properties"][drop]
    else:
        message.pop(drop, None)
    return json.dumps(message)


def of_content_type(kind: str, body: bytes) -> str:
    message = json.loads(envelope(a_hint(), origin="gen1@test"))
    return json.dumps(message | {"content-type": kind, "body": b64encode(body).decode()})


GARBAGE: list[tuple[str, bytes | str]] = [
    ("not JSON", b"certainly not JSON"),
    ("not JSON", b"\xff\xfe\x00 not UTF-8"),
    ("not JSON", b""),
    ("not JSON", b'{"body": '),
    ("not a message", b"null"),
    ("not a message", b"[1, 2, 3]"),
    ("not a message", b"{}"),
    ("not a message", json.dumps({"properties": 5})),
    ("not a message", changed(drop="properties")),
    ("not a message", changed(drop="delivery_tag")),
    ("not a message", changed(drop="delivery_info")),
    ("not a message", changed(drop="body")),
    ("not a message", json.dumps(json.loads(changed()) | {"body": "abc"})),
    ("not a message", json.dumps(json.loads(changed()) | {"headers": "x"})),
    ("malformed", changed(drop="headers")),
    ("malformed", changed(id=None)),
    ("malformed", changed(task=["a", "list"])),
    ("malformed", changed(body=None)),
    ("malformed", changed(body=7)),
    ("malformed", changed(body=[1, 2])),
    ("malformed", changed(body=[[], {}, {}])),
    ("malformed", changed(body=[[{"v": 1, "runs": []}], {}, {}])),
    ("malformed", changed(body=[[{"v": 1, "runs": [["run", "seven"]]}], {}, {}])),
    ("malformed", changed(body=[[{"v": 1, "runs": "all"}], {}, {}])),
    ("malformed", changed(body=[[{"v": 1, "runs": [["r", 1]] * 1_001}], {}, {}])),
    ("unknown task", changed(task="unknown")),
    ("unknown task", changed(task="celery.backend_cleanup")),
    ("foreign version", changed(body=[[{"v": 2, "runs": [["run", 1]]}], {}, {}])),
    ("foreign version", changed(body=[[{"runs": [["run", 1]]}], {}, {}])),
    ("undecodable body", of_content_type("application/json", b"\x00{")),
    ("undecodable body", of_content_type("application/x-python-serialize", b"\x80\x04N.")),
    ("undecodable body", of_content_type("application/x-yaml", b"a: 1")),
    ("malformed", changed(body=[["x" * 5_000_000], {}, {}])),
]


async def test_garbage_is_dropped_counted_and_survived(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_CONCURRENCY="4")
    publisher = RedisHints(app)
    for _, raw in GARBAGE:
        client.lpush(QUEUE, raw)
    good = a_hint()

    await publisher.publish([good])

    eventually(lambda: client.llen("seen") or not worker.alive(), what="the good hint arrives")
    assert worker.alive(), worker.log.read_text()
    assert [json.loads(hop)["hop_id"] for hop in client.lrange("seen", 0, -1)] == [good.hop_id]
    wanted: dict[str, int] = {}
    for reason, _ in GARBAGE:
        wanted[reason] = wanted.get(reason, 0) + 1
    assert dropped_by(app) == wanted
    assert client.llen(QUEUE) == 0
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "xxxxx" not in log, "a payload must not reach the log"
    await publisher.close()


async def test_malformed_headers_take_no_slot_and_do_not_come_back(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_CONCURRENCY="2")
    publisher = RedisHints(app)
    wrong = [
        {"eta": "soon"},
        {"eta": "2999-01-01T00:00:00+00:00"},
        {"expires": "never"},
        {"timelimit": "x"},
        {"stamped_headers": 7, "stamps": "x"},
        {"stamped_headers": ["a"], "stamps": "x"},
    ]
    for headers in wrong:
        client.lpush(QUEUE, changed(**headers))

    await publisher.publish([good := a_hint(), a_hint(), a_hint()])

    eventually(lambda: good.hop_id in "".join(client.lrange("seen", 0, -1)))
    eventually(lambda: client.llen(QUEUE) == 0, what="no slot is lost")
    assert worker.alive(), worker.log.read_text()
    await publisher.close()


async def test_a_flushed_broker_needs_no_restart(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    start_worker()
    publisher = RedisHints(app)
    client.flushall()

    await publisher.publish([a_hint()])

    eventually(lambda: client.llen("seen") == 1)
    await publisher.close()


def dropped_by(app: OrchestratorApp) -> dict[str, int]:
    stats = app.control.inspect(timeout=2.0).stats()
    assert stats is not None, os.environ.get("PYTEST_CURRENT_TEST")
    return dict(next(iter(stats.values()))["pool"]["dropped-messages"])


async def test_a_function_of_another_release_is_woken_up_like_any_other(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    worker = start_worker(TINY_CONCURRENCY="4")
    message = changed(task="tasks.of_the_next_release")
    client.lpush(QUEUE, message)
    eventually(lambda: client.llen("seen") or not worker.alive(), what="the hint arrives")
    assert worker.alive(), worker.log.read_text()
    seen = json.loads(client.lrange("seen", 0, -1)[0])
    assert seen["hop_id"] == json.loads(message)["headers"]["id"]
    assert dropped_by(app) == {}
