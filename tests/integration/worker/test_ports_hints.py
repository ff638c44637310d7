"""One suite for HintPublisher: Redis, any broker of kombu's, and the memory of simulations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hints import a_hint
from msgspec.structs import replace

from orchestrator.embedded.address import free_port
from orchestrator.errors import Unavailable
from orchestrator.ports import COMPENSATE_TASK, DEAD_LETTER_QUEUE, Hint, HintPublisher, Hop
from orchestrator.testing.memory import broker as memory
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.envelope import hop_of
from orchestrator.worker.messages import KombuHints, RedisHints

FORWARD, BACKWARD = "default.forward", "default.compensation"


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A publisher, and how a worker would take the oldest message of a queue."""

    publisher: Any
    take: Callable[[str], Hop | None]


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.broker),
        pytest.param("redis through kombu", marks=pytest.mark.broker),
        "kombu in memory",
        "memory",
    ]
)
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each implementation in turn, without messages."""
    if request.param == "memory":
        server = memory.MemoryBroker()
        yield Broker(publisher=memory.MemoryHints(server), take=taken_from(server))
        return
    in_memory = request.param == "kombu in memory"
    url = "memory://" if in_memory else request.getfixturevalue("broker_url")
    app = make_app(broker_url=url)
    made = RedisHints(app) if request.param == "redis" else KombuHints(app)
    take = taken_through(app)
    for queue in (FORWARD, BACKWARD):  # kombu's memory outlives the app
        while take(queue):
            pass
    yield Broker(publisher=made, take=take)
    await made.close()
    app.close()


def taken_from(server: memory.MemoryBroker) -> Callable[[str], Hop | None]:
    def take(queue: str) -> Hop | None:
        hint = server.take(queue)
        return None if hint is None else memory.hop_of(hint)

    return take


def taken_through(app: OrchestratorApp) -> Callable[[str], Hop | None]:
    def take(queue: str) -> Hop | None:
        with app.connection_for_read() as connection:
            message = app.amqp.queues[queue](connection).get(no_ack=True)
        if message is None:
            return None
        args, _, _ = message.payload
        return hop_of(message.headers, args, message.delivery_info)

    return take


@pytest.fixture
def publisher(broker: Broker) -> HintPublisher:
    """The port alone."""
    made: HintPublisher = broker.publisher
    return made


def as_hop(hint: Hint) -> Hop:
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, runs=((hint.run_id, hint.epoch),),
        label=hint.label, task=hint.task, queue=hint.queue,
    )  # fmt: skip


@pytest.mark.parametrize(
    "hint",
    [
        a_hint(),
        a_hint(parent_hop_id=None, label="ünïcode.step"),
        a_hint(task=COMPENSATE_TASK, queue=BACKWARD, epoch=0),
    ],
)
async def test_a_worker_hears_what_was_said(
    broker: Broker, publisher: HintPublisher, hint: Hint
) -> None:
    await publisher.publish([hint])
    assert broker.take(hint.queue) == as_hop(hint)
    assert broker.take(hint.queue) is None


async def test_each_queue_keeps_its_order(broker: Broker, publisher: HintPublisher) -> None:
    hints = [a_hint(queue=queue) for _ in range(20) for queue in (FORWARD, BACKWARD)]
    await publisher.publish(hints[:25])
    await publisher.publish(hints[25:])
    for queue in (FORWARD, BACKWARD):
        wanted = [as_hop(hint) for hint in hints if hint.queue == queue]
        assert [broker.take(queue) for _ in wanted] == wanted


async def test_the_same_hint_twice_is_two_messages(
    broker: Broker, publisher: HintPublisher
) -> None:
    hint = a_hint()
    await publisher.publish([hint, hint])
    assert await publisher.depth([FORWARD]) == {FORWARD: 2}
    assert broker.take(FORWARD) == broker.take(FORWARD) == as_hop(hint)


async def test_depth_counts_what_nobody_took(broker: Broker, publisher: HintPublisher) -> None:
    await publisher.publish([a_hint() for _ in range(3)] + [a_hint(queue=BACKWARD)])
    broker.take(FORWARD)
    assert await publisher.depth([FORWARD, BACKWARD, "nobody.forward"]) == {
        FORWARD: 2, BACKWARD: 1, "nobody.forward": 0,
    }  # fmt: skip
    assert await publisher.depth([]) == {}


async def test_nothing_to_publish_is_nothing(publisher: HintPublisher) -> None:
    await publisher.publish([])
    assert await publisher.depth([FORWARD]) == {FORWARD: 0}


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_an_absent_broker_is_unavailable(kind: str) -> None:
    if kind == "memory":
        server = memory.MemoryBroker()
        server.away = True
        publisher: Any = memory.MemoryHints(server)
    else:
        publisher = RedisHints(make_app(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    for call in (publisher.publish([a_hint()]), publisher.depth([FORWARD, DEAD_LETTER_QUEUE])):
        with pytest.raises(Unavailable, match="broker"):
            await call
    await publisher.close()


def test_memory_hears_of_each_queue_once() -> None:
    heard: list[str] = []
    server = memory.MemoryBroker(on_arrival=heard.append)
    hint = a_hint()
    server.put([hint, replace(hint, queue=BACKWARD), hint])
    assert heard == [FORWARD, BACKWARD]
