"""Hints are taken many at a time: never beyond the slots, shared, and none is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hints import a_hint
from workbench import Reader, eventually, valkey_process

from orchestrator.embedded.address import free_port
from orchestrator.ports import Hint
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.messages import RedisHints, hint_publisher

FORWARD = "default.forward"


@pytest.fixture
def readers(app: OrchestratorApp) -> Iterator[Any]:
    made: list[Reader] = []

    def make(slots: int) -> Reader:
        made.append(Reader(app, slots))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


async def published(app: OrchestratorApp, count: int, **changes: Any) -> list[Hint]:
    hints = [a_hint(**changes) for _ in range(count)]
    publisher = RedisHints(app)
    await publisher.publish(hints)
    await publisher.close()
    return hints


async def test_full_answers_double_what_is_asked_for(app: OrchestratorApp, readers: Any) -> None:
    hints = await published(app, 150)

    reader = readers(slots=500)

    assert reader.answers() == [8, 16, 32, 64, 30]
    assert reader.got == [hint.hop_id for hint in hints], "first in, first out"


async def test_no_more_are_asked_for_than_there_are_slots(
    app: OrchestratorApp, client: redis.Redis, readers: Any
) -> None:
    await published(app, 50)
    reader = readers(slots=20)

    assert reader.answers(2) == [8, 12]
    assert client.llen(FORWARD) == 30


async def test_who_has_no_free_slot_asks_for_nothing_until_it_has(
    app: OrchestratorApp, client: redis.Redis, readers: Any
) -> None:
    hints = await published(app, 20)
    reader = readers(slots=8)

    assert reader.answers() == [8]
    assert client.llen(FORWARD) == 12
    reader.got.clear()
    assert reader.answers(1) == [8]
    assert reader.got == [hint.hop_id for hint in hints[8:16]]


async def test_what_is_not_json_stands_in_nobodys_way(
    app: OrchestratorApp, client: redis.Redis, readers: Any
) -> None:
    (first,) = await published(app, 1)
    client.lpush(FORWARD, b"\xff", "[", "")
    (last,) = await published(app, 1)
    reader = readers(slots=500)

    assert reader.answers() == [2]
    assert reader.got == [first.hop_id, last.hop_id]
    assert reader.drops.counts() == {"not JSON": 3}


async def test_what_was_popped_and_not_delivered_goes_back_in_order(
    app: OrchestratorApp, client: redis.Redis, readers: Any
) -> None:
    hints = await published(app, 12)
    reader = readers(slots=500)
    reader.fail_at = 3

    with pytest.raises(ZeroDivisionError):
        reader.answers()

    assert reader.got == [hint.hop_id for hint in hints[:3]]
    assert waiting(client) == [hint.hop_id for hint in hints[4:]]  # the fourth broke its delivery


async def test_an_answer_that_comes_while_the_worker_ends_goes_back_in_order(
    app: OrchestratorApp, client: redis.Redis, readers: Any
) -> None:
    reader = readers(slots=500)
    reader.answers()  # asks, and is not answered
    hints = await published(app, 5)
    eventually(lambda: client.llen(FORWARD) == 0, what="the answer is on its way")

    reader.close()

    assert waiting(client) == [hint.hop_id for hint in hints]


async def test_two_idle_workers_share_a_burst(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any
) -> None:
    start_worker(name="w1")
    start_worker(name="w2")
    eventually(lambda: popping(client) == 2, what="both ask for hints")

    await published(app, 16, label="checkout.hold")

    eventually(lambda: client.llen("seen") == 16)
    answers = app.control.inspect(timeout=5.0, limit=2).active()
    assert sorted(len(runs) for runs in answers.values()) == [8, 8]


@pytest.mark.parametrize("how", ["unknown command", "no permission"])
async def test_a_broker_that_pops_one_at_a_time(
    client: redis.Redis, start_worker: Any, how: str
) -> None:
    """Redis before 7, or an access list from before this worker."""
    port = free_port()
    unknown = how == "unknown command"
    broker = valkey_process(port, *(("--rename-command", "BLMPOP", "") if unknown else ()))
    url = f"redis://127.0.0.1:{port}/0"
    if not unknown:
        with redis.Redis.from_url(url) as there:
            there.acl_setuser(
                "clerk", enabled=True, passwords=["+secret"], categories=["+@all"],
                keys=["*"], channels=["*"], commands=["-blmpop"],
            )  # fmt: skip
        url = f"redis://clerk:secret@127.0.0.1:{port}/0"
    publisher = hint_publisher(make_app(broker_url=url))
    try:
        worker = start_worker(ready=False, TINY_APP_BROKER_URL=url, TINY_CONCURRENCY="5")
        await publisher.publish([a_hint("checkout.sleep") for _ in range(40)])

        eventually(lambda: client.llen("seen") == 40, seconds=30)

        assert worker.alive()
        assert "Traceback" not in worker.log.read_text()
    finally:
        await publisher.close()
        broker.stop()


def waiting(client: redis.Redis) -> list[str]:
    """Hop ids on the forward queue, the next to be popped first."""
    return [json.loads(raw)["headers"]["id"] for raw in reversed(client.lrange(FORWARD, 0, -1))]


def popping(client: redis.Redis) -> int:
    """Clients that wait for a message, by what the server says of them."""
    return sum(each["cmd"] == "blmpop" and "b" in each["flags"] for each in client.client_list())
