"""Wake-ups that need no broker: a worker with room takes what it has found due itself.

A message would come to this worker or to another like it, a millisecond later. Wherever that could
make a difference it is sent: while hints wait for a slot, when somebody watches events (a link
that a hop stands for is shown by its message), and for queues that are not served here. A run that
was taken here and is not claimed, since the process dies, is found by the sweep as one whose
message was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from orchestrator.ports import Done, Hint, HintPublisher, Hop
from orchestrator.ports.outside import StepEvents

MOST_IN_HAND = 200
"""Taken this way and not let go yet, a quarter of a second's work: more would pile up here while
another worker is idle. They are beyond the slots that messages have."""


class Shortcut:
    """A `HintPublisher` that keeps for its own process what this has room for."""

    def __init__(
        self, publisher: HintPublisher, *, queues: Collection[str], events: StepEvents
    ) -> None:
        """`queues`: those that this process serves."""
        self._publisher, self._queues, self._events = publisher, frozenset(queues), events
        self._take: Callable[[Hop, Done], None] | None = None
        self._busy: Callable[[], bool] = lambda: True
        self._in_hand = 0

    def open(self, take: Callable[[Hop, Done], None], *, busy: Callable[[], bool]) -> None:
        """From now on; `take` as a message would be taken up, unless `busy`. On one loop."""
        self._take, self._busy = take, busy

    async def publish(self, hints: Sequence[Hint]) -> None:
        """See ports.HintPublisher."""
        rest = [hint for hint in hints if not self._keeps(hint)]
        if rest:
            await self._publisher.publish(rest)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See ports.HintPublisher."""
        return await self._publisher.depth(queues)

    def _keeps(self, hint: Hint) -> bool:
        if self._take is None or self._in_hand >= MOST_IN_HAND or hint.queue not in self._queues:
            return False
        if self._events.watched or self._busy():
            return False
        self._in_hand += 1
        self._take(_hop_of(hint), self._done)
        return True

    def _done(self, error: BaseException | None = None) -> None:
        """What came of it stands in the run."""
        self._in_hand -= 1


def _hop_of(hint: Hint) -> Hop:
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, runs=((hint.run_id, hint.epoch),),
        label=hint.label, task=hint.task, queue=hint.queue,
    )  # fmt: skip
