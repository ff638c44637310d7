"""Undoing before doing, urgent runs before others, and nothing waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from hints import a_hint
from workbench import Reader

from orchestrator.core.states import Direction
from orchestrator.ports import is_urgent, queue_name, queue_names
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.messages import RedisHints
from orchestrator.worker.turns import Turns

FORWARD, URGENT, UNDO = "default.forward", "default.urgent", "default.compensation"


@pytest.fixture
def reader(app: OrchestratorApp) -> Iterator[Reader]:
    reader = Reader(app, slots=500)
    yield reader
    reader.close()


async def published(app: OrchestratorApp, **counts: int) -> dict[str, str]:
    """So many hints for each queue of the default lane; their queues by id."""
    hints = [
        a_hint(queue=f"default.{kind}") for kind, count in counts.items() for _ in range(count)
    ]
    publisher = RedisHints(app)
    await publisher.publish(hints)
    await publisher.close()
    return {hint.hop_id: hint.queue for hint in hints}


async def test_compensations_are_taken_first_and_urgent_runs_before_others(
    app: OrchestratorApp, reader: Reader
) -> None:
    queues = await published(app, forward=5, urgent=5, compensation=5)

    reader.answers()

    order = [queue for queue, _ in groupby(queues[hop_id] for hop_id in reader.got)]
    assert order == [UNDO, URGENT, FORWARD]
    assert len(reader.got) == 15


async def test_what_stands_last_gets_its_turn_while_urgent_work_never_ends(
    app: OrchestratorApp, reader: Reader
) -> None:
    queues = await published(app, forward=1, urgent=300, compensation=300)
    reader.most = 4  # free slots at any time

    reader.answers(most=8)

    assert len(reader.got) == 7 * 4 + 1
    assert [queues[hop_id] for hop_id in reader.got].count(FORWARD) == 1


def test_queues_of_one_kind_take_turns() -> None:
    turns = Turns()
    turns.update(["a.forward", "maintenance", "b.forward", "b.compensation", "a.compensation"])
    assert turns.consume(5) == [
        "b.compensation", "a.compensation", "a.forward", "b.forward", "maintenance",
    ]  # fmt: skip

    turns.rotate("a.forward")
    turns.rotate("b.compensation")
    turns.rotate("gone.forward")

    assert turns.consume(9) == [
        "a.compensation", "b.compensation", "b.forward", "a.forward", "maintenance",
    ]  # fmt: skip
    assert turns.consume(1) == ["a.compensation"]


def test_one_in_eight_asks_the_other_way_round() -> None:
    turns = Turns()
    turns.update(["a.forward", "a.urgent", "a.compensation", "maintenance"])
    firsts = [turns.consume(4)[0] for _ in range(16)]
    assert firsts == [*["a.compensation"] * 7, "maintenance"] * 2


@pytest.mark.parametrize(
    ("priority", "left", "urgent"),
    [(0, None, False), (1, None, True), (-1, None, False), (0, 59.0, True), (0, 61.0, False)],
)
def test_urgent_is_who_has_priority_or_little_time(
    priority: int, left: float | None, urgent: bool
) -> None:
    assert is_urgent(priority, left) is urgent


def test_undoing_has_one_queue_urgent_or_not() -> None:
    assert queue_name("a", Direction.BACKWARD, urgent=True) == "a.compensation"
    assert queue_names("a", Direction.BACKWARD) == ("a.compensation",)
    assert queue_names("a", Direction.FORWARD) == ("a.forward", "a.urgent")


def test_the_app_takes_its_turns(app: OrchestratorApp, reader: Any) -> None:
    channel = reader.consumer.channel
    assert isinstance(channel._queue_cycle, Turns)
