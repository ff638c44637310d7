"""What waits where: messages on the broker beside runs in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.states import Direction
from orchestrator.ports import (
    DEAD_LETTER_QUEUE,
    HintPublisher,
    QueueCounts,
    Store,
    queue_name,
    queue_names,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueView:
    """One queue, seen from both sides."""

    name: str
    messages: int  # on the broker; of `<lane>.forward` with those of `<lane>.urgent`
    due: int  # runs in the table that a message should stand for
    owned: int  # runs in a worker's hands
    parked: int  # runs waiting for a time, without a message
    oldest_due_seconds: float | None


class Queues:
    """All queues."""

    def __init__(self, store: Store, publisher: HintPublisher, *, lanes: Sequence[str]) -> None:
        self._store, self._publisher, self._lanes = store, publisher, tuple(lanes)

    async def overview(self) -> list[QueueView]:
        """Each lane forward and backward, then the dead letters."""
        counts = {(c.lane, c.direction): c for c in await self._store.queue_counts()}
        ours = [(lane, direction) for lane in self._lanes for direction in Direction]
        places = list(dict.fromkeys([*ours, *counts]))
        names = [name for place in places for name in queue_names(*place)]
        depth = await self._publisher.depth([*names, DEAD_LETTER_QUEUE])
        unclaimed = len(await self._store.open_unclaimed())
        views = [_view(place, depth, counts.get(place)) for place in places]
        return [
            *views,
            QueueView(
                name=DEAD_LETTER_QUEUE, messages=depth.get(DEAD_LETTER_QUEUE, 0), due=unclaimed,
                owned=0, parked=0, oldest_due_seconds=None,
            ),
        ]  # fmt: skip


def _view(
    place: tuple[str, Direction], depth: Mapping[str, int], count: QueueCounts | None
) -> QueueView:
    return QueueView(
        name=queue_name(*place),
        messages=sum(depth.get(name, 0) for name in queue_names(*place)),
        due=0 if count is None else count.due,
        owned=0 if count is None else count.owned,
        parked=0 if count is None else count.parked,
        oldest_due_seconds=None if count is None else count.oldest_due_seconds,
    )
