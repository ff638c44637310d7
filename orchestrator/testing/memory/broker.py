"""A broker in memory, whose messages a test may lose, double and put in another order.

`MemoryBroker` is the server; `MemoryHints` and `MemoryDeadLetters` are two ports to it, and a
simulated worker takes hints by `take`. Chance comes from outside, as everything of a simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from orchestrator.errors import Unavailable
from orchestrator.ports import DEAD_LETTER_QUEUE, EscalationRecord, Hint, Hop


class MemoryBroker:
    """Queues by name, oldest message first.

    `away`: every port raises Unavailable and `take` finds nothing. `on_arrival` is called with a
    queue's name whenever messages came, so that consumers can be woken.
    """

    def __init__(self, *, on_arrival: Callable[[str], None] | None = None) -> None:
        self.hints: dict[str, deque[Hint]] = {}
        self.letters: deque[str] = deque()  # escalation ids
        self.away = False
        self.on_arrival = on_arrival

    def take(self, queue: str) -> Hint | None:
        """Remove the oldest hint."""
        waiting = None if self.away else self.hints.get(queue)
        return waiting.popleft() if waiting else None

    def put(self, hints: Sequence[Hint]) -> None:
        """Add them, in order within a queue."""
        for hint in hints:
            self.hints.setdefault(hint.queue, deque()).append(hint)
        if self.on_arrival is not None:
            for queue in dict.fromkeys(hint.queue for hint in hints):
                self.on_arrival(queue)

    def depth(self, queue: str) -> int:
        """Messages waiting."""
        return len(self.letters if queue == DEAD_LETTER_QUEUE else self.hints.get(queue, ()))

    def check(self) -> None:
        """Raises Unavailable while the broker is away."""
        if self.away:
            raise Unavailable("broker", "memory", "it is away")

    # --- mishaps ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """FLUSHALL: nothing is left, the dead letters neither."""
        self.hints.clear()
        self.letters.clear()

    def lose(self, chance: Random, share: float) -> int:
        """Lose about `share` (0 to 1) of all hints; how many."""
        before = sum(map(len, self.hints.values()))
        for queue, waiting in self.hints.items():
            self.hints[queue] = deque(hint for hint in waiting if chance.random() >= share)
        return before - sum(map(len, self.hints.values()))

    def double(self, chance: Random, share: float) -> int:
        """Deliver about `share` of all hints once more, somewhere behind; how many."""
        doubled = [hint for hint in self._all() if chance.random() < share]
        for hint in doubled:
            waiting = self.hints[hint.queue]
            waiting.insert(chance.randint(0, len(waiting)), hint)
        return len(doubled)

    def shuffle(self, chance: Random) -> None:
        """Put each queue in another order."""
        for queue, waiting in self.hints.items():
            mixed = list(waiting)
            chance.shuffle(mixed)
            self.hints[queue] = deque(mixed)

    def _all(self) -> list[Hint]:
        return [hint for waiting in self.hints.values() for hint in waiting]


class MemoryHints:
    """Implements ports.HintPublisher."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def publish(self, hints: Sequence[Hint]) -> None:
        """All at once. Raises Unavailable."""
        if hints:
            self._broker.check()
            self._broker.put(hints)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue. Raises Unavailable."""
        self._broker.check()
        return {queue: self._broker.depth(queue) for queue in queues}

    async def close(self) -> None:
        """Nothing is kept open."""


class MemoryDeadLetters:
    """Implements ports.DeadLetterQueue. Every method raises Unavailable."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """Add one message each."""
        if escalations:
            self._broker.check()
            self._broker.letters.extend(each.id for each in escalations)

    async def take_next(self) -> str | None:
        """Remove the oldest and return its escalation id."""
        self._broker.check()
        letters = self._broker.letters
        return letters.popleft() if letters else None

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove all messages of these."""
        if escalation_ids:
            self._broker.check()
            gone = set(escalation_ids)
            kept = [each for each in self._broker.letters if each not in gone]
            self._broker.letters = deque(kept)

    async def listed(self) -> list[str]:
        """Escalation ids, oldest first, with repetitions."""
        self._broker.check()
        return list(self._broker.letters)

    async def close(self) -> None:
        """Nothing is kept open."""


def hop_of(hint: Hint) -> Hop:
    """A hint as a worker takes it from the broker."""
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, runs=((hint.run_id, hint.epoch),),
        label=hint.label, task=hint.task, queue=hint.queue,
    )  # fmt: skip
