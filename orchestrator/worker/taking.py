"""Taking hints from Redis many at a time, while a message stays one run.

kombu asks for one message (`BRPOP`), and each answer costs a turn of Celery's loop, a command and
a reply. Here the same question is asked with a count (`BLMPOP … COUNT`, Redis 7 or any Valkey):
one answer brings what is there, up to the count.

The count is never above the free slots at the time of asking, and nothing but an answer fills a
slot, so a hint is still not fetched before somebody can take it up. A worker whose engine is not
fit (no database, a loop that stands still) has no free slots: its neighbours get what it would sit
on. A worker that was idle asks for few, so that a burst is shared with its neighbours; answers that
are full double the count.

A popped hint that could not be delivered (the worker ends, or delivering broke) goes back to the
head of its queue. One whose answer was lost on its way is found by the sweep, as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import Any

import orjson
from kombu.transport.redis import Channel
from kombu.transport.virtual import Message
from redis.exceptions import NoPermissionError, ResponseError

from orchestrator.worker.drops import Drops

log = logging.getLogger(__name__)

_Channel: Any = Channel  # half typed: its attributes pass for None
_LEAST_COUNT = 8
_MOST_COUNT = 64


class HintMessage(Message):
    """A message whose JSON body orjson reads; kombu's reader looks at each object in Python."""

    def _decode(self) -> Any:
        if self.content_type == "application/json":
            return orjson.loads(self.body)
        return super()._decode()  # type: ignore[no-untyped-call] # kombu


def taking_channel(base: type, drops: Drops, free_slots: Callable[[], int]) -> type:
    """The transport's Redis channel class `base`, taking many.

    `free_slots` is asked on Celery's main thread before each command.
    """
    shared = {"drops": drops, "free_slots": staticmethod(free_slots)}
    return type("TakingChannel", (TakingMany, base), shared)


class TakingMany(_Channel):
    """A Redis channel that takes many, and outlives a list element that is not JSON."""

    Message = HintMessage
    drops: Drops
    free_slots: Callable[[], int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # kombu puts its prefix before the keys of those commands only that it knows.
        self._many = not self.global_keyprefix
        self._next_count = _LEAST_COUNT
        self._asked = 0  # count of the command on its way; 0: it asks for one

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask (kombu's name: it knows one command)."""
        free = self.free_slots()
        if free <= 0:
            return  # Celery's loop comes by again
        if not self._many:
            self._asked = 0
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        keys = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        self._asked = min(self._next_count, free)
        connection = self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        connection.send_command(
            "BLMPOP", timeout or self.brpop_timeout, len(keys), *keys, "RIGHT", "COUNT", self._asked
        )

    def _brpop_read(self, **options: Any) -> bool:
        """Read the answer and deliver what it brought. Raises Empty when that is nothing."""
        return self._read_many() if self._asked else self._read_one(**options)

    def _read_one(self, **options: Any) -> bool:
        try:
            return bool(super()._brpop_read(**options))
        except ValueError as error:  # JSON and UTF-8 decoding; redis-py raises none of these
            self.drops.drop("not JSON", type(error).__name__)
            # What the transport itself raises when a pop brought nothing.
            raise Empty from None

    def _read_many(self) -> bool:
        try:
            answer = self._answer()
        finally:
            # As kombu does after its own command.
            self._in_poll = None
            self._flush_brpop_reauth()
        if not answer:
            self._next_count = _LEAST_COUNT
            raise Empty
        key, items = answer
        full = len(items) >= self._asked
        self._next_count = min(self._next_count * 2, _MOST_COUNT) if full else _LEAST_COUNT
        self._deliver_all(key, items)
        return True

    def _answer(self) -> Any:
        try:
            return self.client.parse_response(self.client.connection, "BLMPOP")
        except self.connection_errors:
            # Disconnected, so that the next turn connects again.
            self.client.connection.disconnect()
            raise
        except ResponseError as error:
            if not _is_not_there(error):
                raise
            log.info("the broker pops one message at a time: %s", error)
            self._many = False
            raise Empty from None

    def _deliver_all(self, key: bytes, items: Sequence[bytes]) -> None:
        queue = key.decode().rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        if queue not in self.connection._callbacks:  # noqa: SLF001 - cancelled: the worker ends
            self._give_back(key, items)
            return
        done = 0
        try:
            for item in items:
                done += 1
                self._deliver_one(queue, item)
        finally:
            if done < len(items):
                self._give_back(key, items[done:])

    def _deliver_one(self, queue: str, item: bytes) -> None:
        try:
            raw = orjson.loads(item)
        except ValueError as error:
            self.drops.drop("not JSON", type(error).__name__)
            return
        self.connection._deliver(raw, queue)  # noqa: SLF001 - the transport's own way in

    def _give_back(self, key: bytes, items: Sequence[bytes]) -> None:
        """To the end that is popped from, in the order in which they were there."""
        try:
            with self.conn_or_acquire() as client:
                client.rpush(key, *reversed(items))
        except self.connection_errors as error:
            log.warning("%d hints are left to the sweep: %r", len(items), error)


def _is_not_there(error: ResponseError) -> bool:
    """Redis before 7 does not know the command; an access list may leave it out."""
    return isinstance(error, NoPermissionError) or str(error).startswith("unknown command")
