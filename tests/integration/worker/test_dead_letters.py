"""Dead letters as bytes on the broker; `test_ports_dead_letters.py` has the port itself."""

from __future__ import annotations

import redis
from hints import letters

from orchestrator.ports import DEAD_LETTER_QUEUE
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.dead_letters import KombuDeadLetters, RedisDeadLetters


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
