"""One suite for DeadLetterQueue: Redis, any broker of kombu's, and the memory of simulations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hints import letters

from orchestrator.embedded.address import free_port
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    DEAD_LETTER_QUEUE,
    DeadLetterQueue,
    HintPublisher,
)
from orchestrator.testing.memory.broker import MemoryBroker, MemoryDeadLetters, MemoryHints
from orchestrator.worker.app import make_app
from orchestrator.worker.dead_letters import (
    KombuDeadLetters,
    RedisDeadLetters,
    dead_letter_queue,
)
from orchestrator.worker.messages import hint_publisher


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Two ports to one broker."""

    queue: Any
    publisher: Any


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.broker),
        pytest.param("redis through kombu", marks=pytest.mark.broker),
        "kombu in memory",
        "memory",
    ]
)
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each implementation in turn, without dead letters."""
    if request.param == "memory":
        server = MemoryBroker()
        yield Broker(queue=MemoryDeadLetters(server), publisher=MemoryHints(server))
        return
    in_memory = request.param == "kombu in memory"
    url = "memory://" if in_memory else request.getfixturevalue("broker_url")
    app = make_app(broker_url=url)
    kind = RedisDeadLetters if request.param == "redis" else KombuDeadLetters
    made = Broker(queue=kind(app), publisher=hint_publisher(app))
    await made.queue.remove(await made.queue.listed())  # kombu's memory outlives the app
    yield made
    await made.queue.close()
    await made.publisher.close()
    app.close()


@pytest.fixture
def queue(broker: Broker) -> DeadLetterQueue:
    """The port alone."""
    made: DeadLetterQueue = broker.queue
    return made


async def test_takes_the_oldest_first(queue: DeadLetterQueue) -> None:
    await queue.publish(letters("a", "b"))
    await queue.publish(letters("c"))

    assert await queue.listed() == ["a", "b", "c"]
    assert [await queue.take_next() for _ in range(4)] == ["a", "b", "c", None]


async def test_removes_all_messages_of_an_escalation_and_keeps_the_order(
    queue: DeadLetterQueue,
) -> None:
    await queue.publish(letters("a", "b", "c", "b", "d"))

    await queue.remove(["b", "d", "unknown"])

    assert await queue.listed() == ["a", "c"]


async def test_lists_repetitions(queue: DeadLetterQueue) -> None:
    await queue.publish(letters("a", "a"))
    assert await queue.listed() == ["a", "a"]
    assert await queue.listed() == ["a", "a"]  # looking takes nothing away


async def test_nothing_to_do_is_nothing(queue: DeadLetterQueue) -> None:
    await queue.publish([])
    await queue.remove([])
    assert await queue.listed() == []
    assert await queue.take_next() is None


async def test_depth_is_the_number_of_messages(broker: Broker, queue: DeadLetterQueue) -> None:
    await queue.publish(letters("a", "b", "c"))
    publisher: HintPublisher = broker.publisher
    assert await publisher.depth([DEAD_LETTER_QUEUE]) == {DEAD_LETTER_QUEUE: 3}


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_an_absent_broker_is_unavailable(kind: str) -> None:
    if kind == "memory":
        server = MemoryBroker()
        server.away = True
        queue: Any = MemoryDeadLetters(server)
    else:
        queue = dead_letter_queue(make_app(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    for call in (
        queue.publish(letters("a")), queue.take_next(), queue.remove(["a"]), queue.listed(),
    ):  # fmt: skip
        with pytest.raises(Unavailable, match="broker"):
            await call
    await queue.close()
