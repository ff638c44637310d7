"""A broker that loses, doubles, reorders and delays messages, and those who consume from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.ports import DEAD_LETTER_QUEUE, EscalationRecord, Hint
from orchestrator.testing.loop import Life, Process, VirtualLoop
from tests.faults.simulation.weather import Weather, broker_away

LONGEST_DELAY_SECONDS = 10.0
CLIENT_TIMEOUT_SECONDS = 1.0


class Broker:
    """The server. What it is asked happens at once; the way to it is `BrokerLink`'s."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._queues: dict[str, deque[Hint]] = {}
        self._waiting: deque[tuple[Process, asyncio.Future[Hint]]] = deque()
        self.letters: list[str] = []  # escalation ids on the dead-letter queue, oldest first
        self.losses = 0

    def put(self, hint: Hint) -> None:
        """Hand a message to whoever has waited longest, or keep it."""
        while self._waiting:
            process, future = self._waiting.popleft()
            if process.life is not Life.DEAD and not future.done():
                future.set_result(hint)  # a frozen consumer has it now, and does nothing with it
                return
        queue = self._queues.get(hint.queue)
        if queue is None:
            queue = self._queues[hint.queue] = deque()
        queue.append(hint)

    def take(self, consumer: Process) -> asyncio.Future[Hint]:
        """The next message for a consumer."""
        future: asyncio.Future[Hint] = self._loop.create_future()
        for name, queue in self._queues.items():
            if queue:
                future.set_result(queue.popleft())
                self._queues[name] = self._queues.pop(name)  # the other queues come first then
                return future
        self._waiting.append((consumer, future))
        return future

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue."""
        counts = {name: len(self._queues.get(name, ())) for name in queues}
        if DEAD_LETTER_QUEUE in counts:
            counts[DEAD_LETTER_QUEUE] = len(self.letters)
        return counts

    def empty(self) -> None:
        """Lose everything, as by FLUSHALL."""
        self.purge()
        self.letters.clear()

    def purge(self) -> None:
        """Lose all hints."""
        for queue in self._queues.values():
            self.losses += len(queue)
            queue.clear()

    def shuffle(self, shuffle: Callable[[list[Hint]], None]) -> None:
        """Change the order of what waits."""
        for name, queue in self._queues.items():
            mixed = list(queue)
            shuffle(mixed)
            self._queues[name] = deque(mixed)


class BrokerLink:
    """The way from one process to the broker. Implements HintPublisher and, by `letters`, the
    DeadLetterQueue."""

    def __init__(self, broker: Broker, weather: Weather, loop: VirtualLoop) -> None:
        self._broker, self._weather, self._loop = broker, weather, loop
        self.letters = LetterLink(broker, self)

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Put them on the broker; some go astray. Raises Unavailable."""
        await self.arrive()
        weather = self._weather
        refused = weather.happens(weather.rates.broker_refuses)
        for hint in hints[: len(hints) // 2] if refused else hints:
            self._send(hint)
        if refused:
            raise broker_away("the connection broke in the middle")

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue. Raises Unavailable."""
        await self.arrive()
        return self._broker.depth(queues)

    async def arrive(self) -> None:
        """Cross over. Raises Unavailable while the broker is away."""
        if self._weather.broker_away_until > self._loop.time():
            await asyncio.sleep(CLIENT_TIMEOUT_SECONDS)
            raise broker_away("connection refused")
        await asyncio.sleep(0.0002)

    def _send(self, hint: Hint) -> None:
        weather, rates = self._weather, self._weather.rates
        if weather.happens(rates.hint_lost):
            self._broker.losses += 1
            return
        self._put(hint)
        if weather.happens(rates.hint_doubled):
            self._put(hint)

    def _put(self, hint: Hint) -> None:
        if self._weather.happens(self._weather.rates.hint_delayed):
            delay = self._weather.chance.uniform(0.01, LONGEST_DELAY_SECONDS)
            self._loop.call_later(delay, self._broker.put, hint, context=self._loop.nowhere)
        else:
            self._broker.put(hint)


class LetterLink:
    """The way to the dead-letter queue. Implements DeadLetterQueue."""

    def __init__(self, broker: Broker, link: BrokerLink) -> None:
        self._broker, self._link = broker, link

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """Add one message each. Raises Unavailable."""
        await self._link.arrive()
        self._broker.letters.extend(each.id for each in escalations)

    async def take_next(self) -> str | None:
        """Remove the oldest message; None when empty. Raises Unavailable."""
        await self._link.arrive()
        return self._broker.letters.pop(0) if self._broker.letters else None

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove the messages of these. Raises Unavailable."""
        await self._link.arrive()
        gone = set(escalation_ids)
        self._broker.letters = [known for known in self._broker.letters if known not in gone]

    async def listed(self) -> list[str]:
        """Escalation ids, oldest first, with repetitions. Raises Unavailable."""
        await self._link.arrive()
        return list(self._broker.letters)
