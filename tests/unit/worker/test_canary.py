"""When a process that takes no messages is told from one that cannot, or need not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator.errors import Unavailable
from orchestrator.ports import Hint
from orchestrator.worker.canary import Canary, canary_queue, is_canary_queue


@dataclass
class Broker:
    """Takes what it is given, or is away."""

    sent: list[Hint] = field(default_factory=list)
    away: bool = False

    async def publish(self, hints: Sequence[Hint]) -> None:
        if self.away:
            raise Unavailable("broker", "here", "away")
        self.sent += hints

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0)

    async def close(self) -> None:
        return


class Listening:
    """A canary under a clock of the test's."""

    def __init__(self) -> None:
        self.now, self.broker = 100.0, Broker()
        self.canary = Canary(deadline_seconds=30.0, monotonic=lambda: self.now)
        self.canary.queue = canary_queue("w1@here")

    def looks(self, seconds: float, *, can_take: bool = True) -> bool:
        """Every five seconds; whether it found itself deaf."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            if asyncio.run(self.canary.look(self.broker, can_take=can_take)):
                return True
        return False


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_who_takes_them_is_not_deaf(listening: Listening) -> None:
    for _ in range(20):
        assert not listening.looks(5)
        listening.canary.taken()
    assert {hint.queue for hint in listening.broker.sent} == {"w1@here.canary"}
    assert len(listening.broker.sent) == 20


def test_who_takes_none_for_the_deadline_is(listening: Listening) -> None:
    assert not listening.looks(35)
    assert listening.looks(5)
    assert listening.canary.waiting_seconds == 35


def test_one_that_was_lost_on_its_way_is_made_up_for_by_the_next(listening: Listening) -> None:
    assert not listening.looks(30)
    listening.canary.taken()
    assert not listening.looks(35)


@pytest.mark.parametrize("why", ["the broker is away", "there is no room", "it has no queue yet"])
def test_it_is_not_waited_for_while_none_could_be_taken(listening: Listening, why: str) -> None:
    assert not listening.looks(30)
    listening.broker.away = why == "the broker is away"
    if why == "it has no queue yet":
        listening.canary.queue = ""
    assert not listening.looks(600, can_take=why != "there is no room")
    assert listening.canary.waiting_seconds == 0.0


def test_queues_of_processes_are_known_by_their_names() -> None:
    assert is_canary_queue(canary_queue("w1@here"))
    assert not is_canary_queue("default.forward")
