"""Whether this process still takes messages: a canary that goes the whole way, and an end if not.

Workers are known to stay up and take nothing after a broken connection. Neither heartbeats nor
`inspect ping` show that: they go other ways. So each process consumes, beside the queues of its
lanes, one of its own, asked for in the same command (over AMQP: on the same channel), and sends
itself a message there every few seconds. One that is not taken by the deadline means that nothing
is: the process gives its runs back and ends, and whoever keeps workers running starts another one.

It is not waited for while nothing could be taken: all slots are full, the engine is not fit, or the
broker refuses the message. What waits in each queue, and for how long, is counted from the table.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports import Hint, HintPublisher

log = structlog.get_logger(__name__)

CANARY_TASK = "orchestrator.canary"
EXIT_CODE = 75
"""Of a process that could not go on (EX_TEMPFAIL); some supervisors start none that ends with 0."""
_QUEUE_SUFFIX = ".canary"
_END_SECONDS = 20.0


def canary_queue(nodename: str) -> str:
    """The queue of one worker process."""
    return f"{nodename}{_QUEUE_SUFFIX}"


def is_canary_queue(queue: str) -> bool:
    """Whether it is of no interest to those who look at queues."""
    return queue.endswith(_QUEUE_SUFFIX)


class Canary:
    """Of one process. `taken` is for Celery's main thread, the rest for the engine's loop."""

    def __init__(
        self,
        *,
        every_seconds: float = 5.0,
        deadline_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._deadline, self._monotonic = every_seconds, deadline_seconds, monotonic
        self._since: float | None = None
        self.queue = ""  # until the consumer has one

    def taken(self) -> None:
        """It has come."""
        self._since = None

    @property
    def waiting_seconds(self) -> float:
        """For how long it has been waited for. Any thread may ask."""
        since = self._since
        return 0.0 if since is None else self._monotonic() - since

    async def run_passes(
        self, publisher: HintPublisher, *, can_take: Callable[[], bool], on_deaf: Callable[[], None]
    ) -> None:
        """Send and wait, until cancelled or deaf."""
        while True:
            await asyncio.sleep(self._every)
            if await self.look(publisher, can_take=can_take()):
                log.error("worker.deaf", queue=self.queue, seconds=round(self.waiting_seconds, 1))
                on_deaf()
                return

    async def look(self, publisher: HintPublisher, *, can_take: bool) -> bool:
        """Send one more; True when one has not come by the deadline."""
        if not self.queue or not can_take:
            self._since = None
            return False
        if self.waiting_seconds > self._deadline:
            return True
        if self._since is None:
            self._since = self._monotonic()  # before it is sent: it may come at once
        try:
            await publisher.publish([self._message()])
        except Unavailable:
            self._since = None
        return False

    def _message(self) -> Hint:
        return Hint(
            run_id="canary", epoch=0, hop_id="canary", parent_hop_id=None, label="canary",
            task=CANARY_TASK, queue=self.queue,
        )  # fmt: skip


def end_for_certain(within_seconds: float) -> None:
    """End this process then, if it has not ended before; its runs are recovered by others."""
    timer = threading.Timer(within_seconds + _END_SECONDS, os._exit, (EXIT_CODE,))
    timer.daemon = True
    timer.start()
