"""The broker's `dead_letter` queue: a real queue whose depth is the open, unclaimed escalations.

The table of escalations is the record; this queue only shows, in Flower and in `orchestrator
queues`, how many wait for a person, and hands out the next. A sweep compares the two. A message
holds ids, no context: whoever may read the queue need not be allowed to read the run.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import orjson
from celery.utils.nodenames import anon_nodename
from kombu.exceptions import KombuError

from orchestrator.errors import Unavailable
from orchestrator.ports import DEAD_LETTER_QUEUE, EscalationRecord
from orchestrator.worker.app import OrchestratorApp
from orchestrator.worker.envelope import MESSAGE_VERSION, properties
from orchestrator.worker.options import queue_arguments
from orchestrator.worker.redis_link import RedisLink, broker_address, is_plain_redis

_TASK = "orchestrator.escalated"  # no worker registers it


def dead_letter_queue(app: OrchestratorApp) -> RedisDeadLetters | KombuDeadLetters:
    """The queue on the app's broker."""
    return RedisDeadLetters(app) if is_plain_redis(app) else KombuDeadLetters(app)


class RedisDeadLetters:
    """Port `DeadLetterQueue` on the list that kombu would use: pushed left, taken right."""

    def __init__(self, app: OrchestratorApp) -> None:
        self._link, self._origin = RedisLink(app), anon_nodename()

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """One message each, in one command. Raises Unavailable."""
        if escalations:
            messages = [_envelope(each, self._origin) for each in escalations]
            async with self._link.client() as client:
                await client.lpush(DEAD_LETTER_QUEUE, *messages)

    async def take_next(self) -> str | None:
        """Remove the oldest and return its escalation id; what is no dead letter is dropped."""
        async with self._link.client() as client:
            while (raw := await client.rpop(DEAD_LETTER_QUEUE)) is not None:
                if (escalation_id := _id_of(cast(bytes, raw))) is not None:
                    return escalation_id
        return None

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove all messages of these."""
        wanted = set(escalation_ids)
        if not wanted:
            return
        async with self._link.client() as client:
            found = {raw for raw in await self._all(client) if _id_of(raw) in wanted}
            pipe = client.pipeline(transaction=False)
            for raw in found:
                pipe.lrem(DEAD_LETTER_QUEUE, 0, cast(str, raw))  # declared too narrowly
            await pipe.execute()

    async def listed(self) -> list[str]:
        """Escalation ids, oldest first, with repetitions."""
        async with self._link.client() as client:
            ids = [_id_of(raw) for raw in reversed(await self._all(client))]
        return [each for each in ids if each is not None]

    async def close(self) -> None:
        """Close this loop's connections."""
        await self._link.close()

    @staticmethod
    async def _all(client: Any) -> list[bytes]:
        messages: list[bytes] = await client.lrange(DEAD_LETTER_QUEUE, 0, -1)
        return messages


class KombuDeadLetters:
    """Port `DeadLetterQueue` through kombu, in a thread, for any other broker.

    A queue cannot be looked into elsewhere: listing and removing take all messages in hand and
    give back what stays. Somebody who takes the next one meanwhile may find the queue empty.
    """

    def __init__(self, app: OrchestratorApp) -> None:
        self._app, self._origin = app, anon_nodename()

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """One message each. Raises Unavailable."""
        await self._run(lambda channel: self._publish(channel, escalations))

    async def take_next(self) -> str | None:
        """Remove the oldest and return its escalation id; what is no dead letter is dropped."""
        taken: str | None = await self._run(_take_next)
        return taken

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove all messages of these."""
        wanted = set(escalation_ids)
        await self._run(lambda channel: _sift(channel, lambda each: each not in wanted))

    async def listed(self) -> list[str]:
        """Escalation ids, oldest first, with repetitions."""
        ids: list[str] = await self._run(lambda channel: _sift(channel, lambda _: True))
        return ids

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _run(self, function: Callable[[Any], Any]) -> Any:
        def call() -> Any:
            with self._app.connection_for_write() as connection, connection.channel() as channel:
                channel.queue_declare(
                    queue=DEAD_LETTER_QUEUE, durable=True, auto_delete=False,
                    arguments=queue_arguments(str(self._app.conf.broker_url)),
                )  # fmt: skip
                return function(channel)

        try:
            return await asyncio.to_thread(call)
        except (KombuError, OSError) as error:
            raise Unavailable("broker", broker_address(self._app), str(error)) from error

    def _publish(self, channel: Any, escalations: Sequence[EscalationRecord]) -> None:
        for escalation in escalations:
            message = channel.prepare_message(
                _body(escalation),
                content_type="application/json",
                content_encoding="utf-8",
                headers=_headers(escalation, self._origin),
                properties={"correlation_id": escalation.id, "delivery_mode": 2},
            )
            channel.basic_publish(message, exchange="", routing_key=DEAD_LETTER_QUEUE)


def _take_next(channel: Any) -> str | None:
    while (message := channel.basic_get(DEAD_LETTER_QUEUE)) is not None:
        channel.basic_ack(message.delivery_tag)
        if (escalation_id := _id_in(message.body)) is not None:
            return escalation_id
    return None


def _sift(channel: Any, keep: Callable[[str], bool]) -> list[str]:
    """Take every message, give back those to keep, return their ids, oldest first."""
    kept: list[str] = []
    for message in list(_in_hand(channel)):
        escalation_id = _id_in(message.body)
        if escalation_id is not None and keep(escalation_id):
            kept.append(escalation_id)
            # By publishing again: virtual transports return a rejected one to the wrong end.
            again = channel.prepare_message(
                message.body.decode() if isinstance(message.body, bytes) else message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers,
                properties={"correlation_id": escalation_id, "delivery_mode": 2},
            )
            channel.basic_publish(again, exchange="", routing_key=DEAD_LETTER_QUEUE)
        channel.basic_ack(message.delivery_tag)
    return kept


def _in_hand(channel: Any) -> Iterator[Any]:
    while (message := channel.basic_get(DEAD_LETTER_QUEUE)) is not None:
        yield message


def _body(escalation: EscalationRecord) -> str:
    letter = {"v": MESSAGE_VERSION, "escalation": escalation.id, "run": escalation.run_id}
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return orjson.dumps([[letter], {}, embed]).decode()


def _headers(escalation: EscalationRecord, origin: str) -> dict[str, Any]:
    """Enough of Celery's headers that tools which show a queue's messages can name it."""
    where = escalation.step_id or escalation.workflow
    return {
        "lang": "py",
        "task": _TASK,
        "id": escalation.id,
        "shadow": f"{escalation.workflow}.{where} ({escalation.reason})",
        "root_id": escalation.run_id,
        "origin": origin,
    }


def _envelope(escalation: EscalationRecord, origin: str) -> bytes:
    return orjson.dumps(
        {
            "body": b64encode(_body(escalation).encode()).decode("ascii"),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": _headers(escalation, origin),
            "properties": properties(escalation.id, DEAD_LETTER_QUEUE),
        }
    )


def _id_of(raw: bytes) -> str | None:
    """The escalation id in an envelope from the Redis list; None for anything else."""
    try:
        return _id_in(b64decode(orjson.loads(raw)["body"]))
    except (ValueError, LookupError, TypeError):
        return None


def _id_in(body: bytes | str) -> str | None:
    """The escalation id in a message body; None for anything else."""
    try:
        escalation_id = orjson.loads(body)[0][0]["escalation"]
    except (ValueError, LookupError, TypeError):
        return None
    return escalation_id if isinstance(escalation_id, str) else None
