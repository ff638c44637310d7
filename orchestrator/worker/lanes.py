"""Wake-ups onto several brokers: each lane has its own, all others share one.

Workers of any broker may do a job, so its messages go to all of them: a message is a wake-up, and
whoever comes second finds the job's turn taken. Where one broker cannot be reached the others get
their messages all the same; the table knows what should be on the broken one, and the sweep gives
it again. So nothing is raised unless none could be reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from orchestrator.core.states import Direction
from orchestrator.errors import Unavailable
from orchestrator.ports import MAINTENANCE_QUEUE, Hint, HintPublisher, queue_names

log = structlog.get_logger(__name__)

REST_SECONDS = 2.0
"""A broker that did not answer is not waited for again so soon: others' messages wait as well."""

T = TypeVar("T")


class OpenPublisher(HintPublisher, Protocol):
    """One with connections."""

    async def close(self) -> None:
        """Close those of this loop."""


class LaneHints:
    """Port `HintPublisher` over several of its kind."""

    def __init__(
        self,
        home: OpenPublisher,
        by_lane: Mapping[str, OpenPublisher],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`home` has the queues of all lanes that `by_lane` does not name."""
        self._home, self._monotonic = home, monotonic
        self._by_queue = {
            queue: publisher
            for lane, publisher in by_lane.items()
            for direction in Direction
            for queue in queue_names(lane, direction)
        }
        self._all = list(dict.fromkeys([home, *by_lane.values()]))
        self._away: dict[OpenPublisher, tuple[float, Unavailable]] = {}

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Each to its broker, all at once. Raises Unavailable where none could be reached."""
        told: dict[OpenPublisher, list[Hint]] = {}
        for hint in hints:
            for publisher in self._of(hint.queue):
                told.setdefault(publisher, []).append(hint)
        await self._each({one: one.publish(some) for one, some in told.items()})

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue whose broker answers. Raises Unavailable if none does."""
        asked: dict[OpenPublisher, list[str]] = {}
        for queue in queues:
            for publisher in self._of(queue):
                asked.setdefault(publisher, []).append(queue)
        found = await self._each({one: one.depth(some) for one, some in asked.items()})
        depths: dict[str, int] = {}
        for some in found:
            for queue, count in some.items():
                depths[queue] = depths.get(queue, 0) + count
        return depths

    async def close(self) -> None:
        """Of all."""
        await asyncio.gather(*(each.close() for each in self._all))

    def _of(self, queue: str) -> Sequence[OpenPublisher]:
        if queue == MAINTENANCE_QUEUE:
            return self._all
        return (self._by_queue.get(queue, self._home),)

    async def _each(self, calls: Mapping[OpenPublisher, Coroutine[Any, Any, T]]) -> list[T]:
        found = await asyncio.gather(*(self._one(who, call) for who, call in calls.items()))
        missing = [each for each in found if isinstance(each, Unavailable)]
        if missing and len(missing) == len(calls):
            raise missing[0]
        return [each for each in found if not isinstance(each, Unavailable)]

    async def _one(self, who: OpenPublisher, call: Coroutine[Any, Any, T]) -> T | Unavailable:
        until, why = self._away.get(who, (0.0, None))
        if why is not None and self._monotonic() < until:
            call.close()
            return why
        try:
            found = await call
        except Unavailable as error:
            self._away[who] = (self._monotonic() + REST_SECONDS, error)
            log.warning("broker.unreachable", why=str(error))
            return error
        self._away.pop(who, None)
        return found
