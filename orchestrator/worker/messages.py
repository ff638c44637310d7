"""Wake-ups onto the broker, in bulk.

`apply_async` costs the better part of a millisecond of CPU for each message. On Redis a queue is
a list, so the envelopes are built here, byte for byte what kombu would push, and one command
pushes hundreds. Other brokers get the ordinary producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from celery.utils.nodenames import anon_nodename
from kombu.exceptions import KombuError

from orchestrator.errors import Unavailable
from orchestrator.ports import Hint
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.envelope import args_repr, envelope, hint_args
from orchestrator.worker.redis_link import RedisLink, broker_address, is_plain_redis

_MESSAGES_PER_COMMAND = 500


def hint_publisher(app: OrchestratorApp) -> RedisHints | KombuHints:
    """The publisher for the app's broker."""
    return RedisHints(app) if is_plain_redis(app) else KombuHints(app)


class RedisHints:
    """Port `HintPublisher`: one pipeline of few LPUSH commands."""

    def __init__(self, app: OrchestratorApp) -> None:
        self._link, self._origin = RedisLink(app), anon_nodename()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """All in one round trip. Raises Unavailable; some may have gone out then."""
        if not hints:
            return
        async with self._link.client() as client:
            if len(hints) == 1:
                await client.lpush(hints[0].queue, envelope(hints[0], origin=self._origin))
                return
            pipe = client.pipeline(transaction=False)
            for queue, some in _by_queue(hints):
                # The whole queue's values in one command: the first pushed is the first popped.
                pipe.lpush(queue, *(envelope(hint, origin=self._origin) for hint in some))
            await pipe.execute()

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue."""
        async with self._link.client() as client:
            pipe = client.pipeline(transaction=False)
            for queue in queues:
                pipe.llen(queue)
            return dict(zip(queues, await pipe.execute(), strict=True))

    async def close(self) -> None:
        """Close this loop's connections."""
        await self._link.close()


class KombuHints:
    """Port `HintPublisher` through the ordinary producer, in a thread."""

    def __init__(self, app: OrchestratorApp) -> None:
        self._app = app

    async def publish(self, hints: Sequence[Hint]) -> None:
        """One by one. Raises Unavailable; some may have gone out then."""
        await self._in_thread(self._publish, hints)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue."""
        depths: dict[str, int] = await self._in_thread(self._depth, queues)
        return depths

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *args)
        except (KombuError, OSError) as error:
            raise Unavailable("broker", broker_address(self._app), str(error)) from error

    def _publish(self, hints: Sequence[Hint]) -> None:
        amqp = self._app.amqp
        with self._app.producer_or_acquire() as producer:
            for hint in hints:
                run = hint.run_id, hint.epoch
                message = amqp.as_task_v2(
                    hint.hop_id,
                    hint.task,
                    args=hint_args(run),
                    root_id=hint.run_id,
                    parent_id=hint.parent_hop_id,
                    shadow=hint.label,
                    argsrepr=args_repr(run),
                    ignore_result=True,
                )
                amqp.send_task_message(producer, hint.task, message, queue=hint.queue)

    def _depth(self, queues: Sequence[str]) -> dict[str, int]:
        with self._app.connection_for_write() as connection:
            return {queue: queue_depth(connection, queue) for queue in queues}


def queue_depth(connection: Any, queue: str) -> int:
    """Messages in a queue; 0 when it does not exist yet."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def _by_queue(hints: Sequence[Hint]) -> Iterator[tuple[str, list[Hint]]]:
    """Chunks of one queue each, in order within a queue."""
    for queue, same in groupby(sorted(hints, key=attrgetter("queue")), key=attrgetter("queue")):
        while chunk := list(islice(same, _MESSAGES_PER_COMMAND)):
            yield queue, chunk
