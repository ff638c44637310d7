"""One suite for the dead-letter port, on Redis and on kombu's in-memory broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from workbench import free_port

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import Direction
from orchestrator.errors import Unavailable
from orchestrator.ports import DEAD_LETTER_QUEUE, EscalationRecord
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.dead_letters import (
    KombuDeadLetters,
    RedisDeadLetters,
    dead_letter_queue,
)
from orchestrator.worker.messages import hint_publisher

RECORD = EscalationRecord(
    id="e0", run_id="r0", workflow="checkout", tenant="default",
    reason=next(iter(EscalationReason)), detail="", step=1, step_id="charge",
    direction=Direction.BACKWARD, context={"card": "4000"},
    opened_at=datetime(2026, 1, 1, tzinfo=UTC), claimed_by=None, claimed_at=None, closed_at=None,
    resolution=None, closed_by=None, closing_reason=None,
)  # fmt: skip


def letters(*ids: str) -> list[EscalationRecord]:
    return [replace(RECORD, id=each, run_id=f"run-of-{each}") for each in ids]


@pytest.fixture(params=["redis", "redis through kombu", "memory"])
def any_app(request: Any, broker_url: str) -> Any:
    app = make_app(broker_url="memory://" if request.param == "memory" else broker_url)
    app.through_kombu = request.param != "redis"
    yield app
    app.close()


@pytest.fixture
async def queue(any_app: Any) -> AsyncIterator[Any]:
    queue = (KombuDeadLetters if any_app.through_kombu else RedisDeadLetters)(any_app)
    await queue.remove(await queue.listed())
    yield queue
    await queue.close()


async def test_takes_the_oldest_first(queue: Any) -> None:
    await queue.publish(letters("a", "b"))
    await queue.publish(letters("c"))

    assert await queue.listed() == ["a", "b", "c"]
    assert [await queue.take_next() for _ in range(4)] == ["a", "b", "c", None]


async def test_removes_all_messages_of_an_escalation_and_keeps_the_order(queue: Any) -> None:
    await queue.publish(letters("a", "b", "c", "b", "d"))

    await queue.remove(["b", "d", "unknown"])

    assert await queue.listed() == ["a", "c"]


async def test_lists_repetitions(queue: Any) -> None:
    await queue.publish(letters("a", "a"))
    assert await queue.listed() == ["a", "a"]


async def test_nothing_to_do_is_nothing(queue: Any) -> None:
    await queue.publish([])
    await queue.remove([])
    assert await queue.listed() == []
    assert await queue.take_next() is None


async def test_depth_is_the_number_of_messages(any_app: Any, queue: Any) -> None:
    await queue.publish(letters("a", "b", "c"))
    publisher = hint_publisher(any_app)
    assert await publisher.depth([DEAD_LETTER_QUEUE]) == {DEAD_LETTER_QUEUE: 3}
    await publisher.close()


async def test_what_is_no_dead_letter_is_passed_over(
    app: OrchestratorApp, client: redis.Redis
) -> None:
    queue = RedisDeadLetters(app)
    client.lpush(DEAD_LETTER_QUEUE, "garbage", '{"body": "AA=="}', "[]")
    await queue.publish(letters("a"))

    assert await queue.listed() == ["a"]
    assert await queue.take_next() == "a"
    assert client.llen(DEAD_LETTER_QUEUE) == 0
    await queue.close()


async def test_both_ways_write_one_format(app: OrchestratorApp, client: redis.Redis) -> None:
    ours, theirs = RedisDeadLetters(app), KombuDeadLetters(app)
    await ours.publish(letters("a"))
    await theirs.publish(letters("b"))

    assert await theirs.take_next() == "a"
    assert await ours.take_next() == "b"
    await ours.close()


async def test_a_message_carries_no_context(app: OrchestratorApp, client: redis.Redis) -> None:
    queue = RedisDeadLetters(app)
    await queue.publish(letters("a"))

    (raw,) = client.lrange(DEAD_LETTER_QUEUE, 0, -1)
    assert "4000" not in raw
    with app.connection_for_read() as connection, connection.channel() as channel:
        message = channel.basic_get(DEAD_LETTER_QUEUE, no_ack=True)
    assert message.decode()[0] == [{"v": 1, "escalation": "a", "run": "run-of-a"}]
    await queue.close()


async def test_an_absent_broker_is_unavailable() -> None:
    app = make_app(broker_url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Unavailable, match="broker"):
        await dead_letter_queue(app).take_next()
