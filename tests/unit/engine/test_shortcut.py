"""A worker takes what it has found due itself, and sends a message wherever that matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.engine.shortcut import MOST_IN_HAND, Shortcut
from orchestrator.errors import Unavailable
from orchestrator.ports import Done, Hint, Hop
from orchestrator.testing.memory.broker import MemoryBroker, MemoryHints
from orchestrator.testing.process import NoEvents

QUEUE = "default.forward"


class Unwatched(NoEvents):
    """Nobody watches them."""

    watched = False


class Place:
    """A process that takes hops up and lets go of them when it is told to."""

    def __init__(self) -> None:
        self.broker, self.events, self.busy = MemoryBroker(), Unwatched(), False
        self.hops: list[Hop] = []
        self.dones: list[Done] = []
        self.shortcut = Shortcut(MemoryHints(self.broker), queues=[QUEUE], events=self.events)

    def open(self) -> None:
        self.shortcut.open(self._take, busy=lambda: self.busy)

    def publish(self, *hints: Hint) -> None:
        asyncio.run(self.shortcut.publish(hints))

    @property
    def sent(self) -> list[str]:
        return [hint.run_id for queue in self.broker.hints.values() for hint in queue]

    def _take(self, hop: Hop, done: Done) -> None:
        self.hops.append(hop)
        self.dones.append(done)


@pytest.fixture
def place() -> Place:
    place = Place()
    place.open()
    return place


def hint(run_id: str = "r1", queue: str = QUEUE) -> Hint:
    return Hint(
        run_id=run_id, epoch=3, hop_id="h1", parent_hop_id="h0", label="trip.wait",
        task="orchestrator.forward", queue=queue,
    )  # fmt: skip


def test_it_takes_what_it_has_room_for_as_a_message_would_have_brought_it(place: Place) -> None:
    place.publish(hint())
    assert place.hops == [
        Hop(
            hop_id="h1", parent_hop_id="h0", runs=(("r1", 3),), label="trip.wait",
            task="orchestrator.forward", queue=QUEUE,
        )
    ]  # fmt: skip
    assert place.sent == []


@pytest.mark.parametrize(
    ("cause", "queue"),
    [
        (lambda place: setattr(place, "busy", True), QUEUE),
        (lambda place: setattr(place.events, "watched", True), QUEUE),
        (lambda place: None, "bulk.forward"),
    ],
    ids=["no room", "watched", "another lane"],
)
def test_otherwise_it_is_sent(place: Place, cause: Callable[[Place], None], queue: str) -> None:
    cause(place)
    place.publish(hint(queue=queue))
    assert (place.hops, place.sent) == ([], ["r1"])


def test_before_its_process_is_ready_all_is_sent() -> None:
    place = Place()
    place.publish(hint())
    assert place.sent == ["r1"]


def test_what_is_beyond_a_quarter_of_a_second_of_work_is_for_all(place: Place) -> None:
    place.publish(*(hint(f"r{number}") for number in range(MOST_IN_HAND + 2)))
    assert len(place.hops) == MOST_IN_HAND
    assert place.sent == [f"r{MOST_IN_HAND}", f"r{MOST_IN_HAND + 1}"]
    place.dones[0](None)
    place.dones[1](RuntimeError("it failed"))
    place.publish(hint("x"), hint("y"), hint("z"))
    assert [hop.runs[0][0] for hop in place.hops[MOST_IN_HAND:]] == ["x", "y"]
    assert place.sent[-1] == "z"


def test_without_a_broker_what_is_kept_is_kept(place: Place) -> None:
    place.broker.away = True
    place.publish(hint())
    with pytest.raises(Unavailable):
        place.publish(hint("r2"), hint("r3", "bulk.forward"))
    assert [hop.runs[0][0] for hop in place.hops] == ["r1", "r2"]
