"""What is pushed is what kombu would push, in order, and a worker takes it up."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
import redis
from hints import a_hint
from workbench import eventually

from orchestrator.embedded.address import free_port
from orchestrator.errors import Unavailable
from orchestrator.ports import COMPENSATE_TASK, Hint
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.messages import KombuHints, RedisHints, hint_publisher


def unpacked(raw: str) -> dict[str, Any]:
    """An envelope with its body decoded and without what is random in each message."""
    message: dict[str, Any] = json.loads(raw)
    message["body"] = json.loads(b64decode(message["body"]))
    for name in ("delivery_tag", "reply_to"):
        assert isinstance(message["properties"].pop(name), str)
    assert "@" in message["headers"].pop("origin")
    return message


@pytest.mark.parametrize(
    "hint",
    [
        a_hint(),
        a_hint(parent_hop_id=None, label="ünïcode.step"),
        a_hint(task=COMPENSATE_TASK, queue="default.compensation"),
        a_hint(task="tasks.price", label="checkout.price"),
    ],
)
async def test_bytes_equal_the_ordinary_producers(
    app: OrchestratorApp, client: redis.Redis, hint: Hint
) -> None:
    ours, theirs = RedisHints(app), KombuHints(app)

    await ours.publish([hint])
    await theirs.publish([hint])

    raw_ours, raw_theirs = client.rpop(hint.queue), client.rpop(hint.queue)
    assert unpacked(raw_ours) == unpacked(raw_theirs)
    await ours.close()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parent_hop_id": None, "epoch": 0},
        {"label": '100 % ünïcode "%s" %d', "task": "tasks.%s"},
        {"run_id": 'a "quoted" \\ run', "hop_id": "žluť", "parent_hop_id": "\n"},
        {"label": "private \ue000 \ue004", "task": "\ue001"},
    ],
)
async def test_names_and_ids_of_any_kind_are_written_as_the_ordinary_producer_does(
    app: OrchestratorApp, client: redis.Redis, changes: dict[str, Any]
) -> None:
    hint = a_hint(**changes)
    ours, theirs = RedisHints(app), KombuHints(app)

    await ours.publish([hint, hint])
    await theirs.publish([hint])

    first, second, wanted = (client.rpop(hint.queue) for _ in range(3))
    assert first == second
    assert unpacked(first) == unpacked(wanted)
    await ours.close()


async def test_a_kombu_consumer_reads_both_alike(app: OrchestratorApp, client: redis.Redis) -> None:
    hint = a_hint()
    ours = RedisHints(app)
    await ours.publish([hint])
    await KombuHints(app).publish([hint])
    await ours.close()

    with app.connection_for_read() as connection:
        queue = app.amqp.queues["default.forward"](connection)
        first, second = queue.get(no_ack=True), queue.get(no_ack=True)

    assert first.payload == second.payload == [[{"v": 1, "runs": [[hint.run_id, 3]]}], {}, _EMBED]
    assert first.content_type == second.content_type == "application/json"
    same = {key: value for key, value in first.headers.items() if key != "origin"}
    assert same == {key: value for key, value in second.headers.items() if key != "origin"}
    assert same["id"] == hint.hop_id
    assert same["root_id"] == hint.run_id
    assert same["shadow"] == "checkout.noop"
    assert same["eta"] is same["expires"] is None


_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


async def test_bulk_keeps_the_order_of_each_queue(
    app: OrchestratorApp, client: redis.Redis
) -> None:
    queues = ("default.forward", "default.compensation")
    hints = [a_hint(queue=queue) for _ in range(700) for queue in queues]
    publisher = hint_publisher(app)

    await publisher.publish(hints)

    assert await publisher.depth(["default.forward", "default.compensation", "maintenance"]) == {
        "default.forward": 700,
        "default.compensation": 700,
        "maintenance": 0,
    }
    for queue in queues:
        popped = [json.loads(raw)["headers"]["id"] for raw in client.lrange(queue, 0, -1)[::-1]]
        assert popped == [hint.hop_id for hint in hints if hint.queue == queue]
    await publisher.close()


async def test_nothing_to_publish_is_nothing(app: OrchestratorApp, client: redis.Redis) -> None:
    await hint_publisher(app).publish([])

    assert client.keys("*") == []


async def test_an_absent_broker_is_unavailable_and_hides_the_password() -> None:
    port = free_port()
    app = make_app(broker_url=f"redis://:hush@127.0.0.1:{port}/0")

    with pytest.raises(Unavailable) as caught:
        await hint_publisher(app).publish([a_hint()])

    assert str(port) in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_other_brokers_get_the_ordinary_producer() -> None:
    app = make_app(broker_url="memory://")
    publisher = hint_publisher(app)
    assert isinstance(publisher, KombuHints)

    await publisher.publish([a_hint(), a_hint()])

    assert await publisher.depth(["default.forward", "default.compensation"]) == {
        "default.forward": 2,
        "default.compensation": 0,
    }
    app.close()


async def test_a_worker_takes_both_kinds_up_alike(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    start_worker()
    by_us, by_kombu = a_hint(), a_hint(task="tasks.price", label="checkout.price")
    publisher = RedisHints(app)

    await publisher.publish([by_us])
    await KombuHints(app).publish([by_kombu])

    eventually(lambda: client.llen("seen") == 2)
    seen = [json.loads(hop) for hop in client.lrange("seen", 0, -1)]
    assert seen == [
        {
            "hop_id": hint.hop_id,
            "parent_hop_id": hint.parent_hop_id,
            "runs": [[hint.run_id, 3]],
            "label": hint.label,
            "task": hint.task,
            "queue": "default.forward",
        }
        for hint in (by_us, by_kombu)
    ]
    await publisher.close()
