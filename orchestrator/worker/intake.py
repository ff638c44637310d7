"""The consumer that no message can end.

Celery's consumer hands every message to one handler. Most bad messages are caught there (unknown
task, undecodable body), but three kinds leave it as an exception and end the worker process, or
come back for ever:

- a body that is not JSON is decoded inside the transport, before any consumer sees it;
- an envelope without `properties`, or a message without an `id`, raises KeyError, which kombu's
  Redis transport counts among its *connection* errors: the worker reconnects, restores the
  message, and meets it again;
- a payload of another shape (null, a number, two elements) raises TypeError or ValueError.

So each message is looked at twice before Celery sees it: its envelope where the transport
delivers it, its hint where the task handler begins. What is not understood is counted, logged
and dropped; the next message is handled.
"""

from __future__ import annotations

import binascii
import logging
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.exceptions import ImproperlyConfigured
from celery.worker import state as worker_state
from celery.worker.consumer import Consumer

from orchestrator.ports import Hop
from orchestrator.worker.audience import count_takers
from orchestrator.worker.canary import CANARY_TASK, canary_queue
from orchestrator.worker.drops import Drops
from orchestrator.worker.envelope import ForeignMessage, hop_of
from orchestrator.worker.options import own_queue
from orchestrator.worker.pool import HopPool
from orchestrator.worker.request import HopRequest
from orchestrator.worker.taking import taking_channel

Handler = Callable[[Any], object]

_EVENTS_LAG_SECONDS = 0.1


class Intake(Consumer):
    """Celery's consumer with both looks in place (setting `worker_consumer`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # One line for each hint would cost more than the hint; the audit table has the steps.
        logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
        self._flush_due_at = 0.0
        self._add_canary(kwargs["app"], kwargs["hostname"])
        super().__init__(*args, **kwargs)
        if not isinstance(self.pool, HopPool):
            raise ImproperlyConfigured(
                f"found the worker pool {type(self.pool).__name__}, wanted HopPool: hints are for "
                "the engine; start the worker without --pool"
            )

    @staticmethod
    def _add_canary(app: Any, nodename: str) -> None:
        """One more queue to consume, that of this process; see canary.py."""
        name = canary_queue(nodename)
        app.amqp.queues.select_add(own_queue(name))
        app.canary.queue = name

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """The consuming connection, with the transport guarded before anything is delivered."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        guard_connection(connection, self.app.drops, self._free_slots)
        return self.ensure_connected(connection)

    def _free_slots(self) -> int:
        """None while the engine could not go on with them: others would wait for those in vain."""
        if not self.app.runtime.fit:
            return 0
        return int(self.pool.limit) - len(worker_state.reserved_requests)

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """The connection for events, which tells whether anybody listens."""
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat)
        count_takers(connection)
        return self.ensure_connected(connection)

    def create_task_handler(self, *_: Any, **__: Any) -> Handler:
        """The second look, and then straight to the pool.

        What Celery's own handler does beyond this has no meaning for a hint: messages of older
        protocols, estimated times, rates of task types, revoked ids; and it leaves each
        acknowledgement to the next turn of the loop.
        """
        # Without KeyError: here it means a message, not a connection.
        lost = tuple(kind for kind in self.connection_errors if kind is not KeyError)

        def on_message(message: Any) -> None:
            try:
                if message.headers.get("task") == CANARY_TASK:
                    self._take_canary(message)
                    return
                hop = read_hint(message, self.app.hop_names)
                self._take_up(HopRequest(message, hop, consumer=self))
            except lost:
                raise
            except ForeignMessage as refusal:
                self._drop(message, refusal.reason, refusal.detail)
            except Exception as error:  # noqa: BLE001 - the boundary: the next message must come
                self._drop(message, "unhandled", repr(error))
                _forget(message.headers["id"])

        return on_message

    def _take_canary(self, message: Any) -> None:
        message.ack_log_error(logging.getLogger(__name__), self.connection_errors)
        if (message.delivery_info or {}).get("routing_key") == self.app.canary.queue:
            self.app.canary.taken()

    def _take_up(self, request: HopRequest) -> None:
        signals.task_received.send(sender=self, request=request)
        request.send_received()
        worker_state.task_reserved(request)
        for callback in self.on_task_message:
            callback(request)
        self.pool.take(request)

    def on_send_event_buffered(self) -> None:
        """Send buffered task events a little later, many in one message.

        Celery's own consumer sends them at the loop's next turn, which is after each hop: that
        publishing then costs more than all the rest of the hop.
        """
        now = time.monotonic()
        if self.hub is not None and now >= self._flush_due_at:
            # A time, not a flag: a reconnect may cancel the timer's entry.
            self._flush_due_at = now + _EVENTS_LAG_SECONDS
            self.hub.call_later(_EVENTS_LAG_SECONDS, self._flush_late)

    def _flush_late(self) -> None:
        self._flush_due_at = 0.0
        self._flush_events()

    def _drop(self, message: Any, reason: str, detail: str) -> None:
        self.app.drops.drop(reason, detail)
        if not message.acknowledged:
            message.reject_log_error(logging.getLogger(__name__), self.connection_errors)


def _forget(hop_id: str) -> None:
    """Take a request that failed on its way to the pool out of Celery's books.

    It was counted as reserved before; as long as it is, its slot is lost.
    """
    request = worker_state.requests.get(hop_id)
    if request is not None and request not in worker_state.active_requests:
        worker_state.task_ready(request)


def read_hint(message: Any, known: frozenset[str]) -> Hop:
    """The hop of a message. Raises ForeignMessage unless it is for a task that we know."""
    headers = message.headers
    task, hop_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or not isinstance(hop_id, str):
        raise ForeignMessage("malformed", "no task name or id in the headers")
    if task not in known and not _may_be_of_another_release(task):
        raise ForeignMessage("unknown task", task)
    if headers.get("eta") or headers.get("expires"):
        # Waits live in the table; a message held in memory until its time is lost with us.
        raise ForeignMessage("malformed", "a hint has no eta and does not expire")
    try:
        payload = message.payload
    except Exception as error:  # kombu: DecodeError, ContentDisallowed, LookupError …
        raise ForeignMessage("undecodable body", repr(error)) from error
    if not (isinstance(payload, list) and len(payload) == 3 and isinstance(payload[1], dict)):
        raise ForeignMessage("malformed", "the body is not [args, kwargs, embed]")
    return hop_of(headers, payload[0], message.delivery_info)


def _may_be_of_another_release(task: str) -> bool:
    """Whether it may be a function of workers with other code than ours: a name with dots.

    Its message is a wake-up like any other, if that is its form: the claim says what is to be done,
    and the run waits for a worker that has the function (`engine/lacking.py`). Dropped, it would
    come again after seconds, to any worker.
    """
    return "." in task and not task.startswith(("celery.", "orchestrator."))


def guard_connection(connection: Any, drops: Drops, free_slots: Callable[[], int]) -> None:
    """Make the transports of this one kombu connection survive what is not a message.

    Bound to the worker's reading connection, so that other connections of the process (and of
    Flower, which imports the same app) stay as kombu made them; and to the making of its
    transport, which happens again when a broker fails over.
    """
    make_transport = connection.create_transport

    def create_transport() -> Any:
        transport = make_transport()
        _guard_delivery(transport, drops)
        if transport.driver_type == "redis":
            transport.Channel = taking_channel(type(transport).Channel, drops, free_slots)
        return transport

    connection.create_transport = create_transport


def _guard_delivery(transport: Any, drops: Drops) -> None:
    """Virtual transports (Redis, SQS, memory …) hand raw envelopes over here."""
    deliver = getattr(transport, "_deliver", None)
    if deliver is None:  # AMQP: the broker speaks of headers and properties itself
        return

    def guarded(raw: object, queue: str) -> None:
        problem = envelope_problem(raw)
        if problem is None:
            deliver(raw, queue)
        else:
            drops.drop("not a message", f"queue {queue}: {problem}")

    transport._deliver = guarded  # noqa: SLF001 - kombu has no public hook between pop and Message()


def envelope_problem(raw: object) -> str | None:
    """Why kombu could not make a message of this, or None."""
    if not isinstance(raw, dict):
        return f"found {type(raw).__name__}, wanted an object"
    properties = raw.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_tag"), str):
        return "no properties with a delivery_tag"
    info = properties.get("delivery_info")
    if not (isinstance(info, dict) and "exchange" in info and "routing_key" in info):
        return "no delivery_info with exchange and routing_key"
    if not isinstance(raw.get("headers"), dict | None):
        return "headers are not an object"
    return _body_problem(raw.get("body"), properties.get("body_encoding"))


def _body_problem(body: object, encoding: object) -> str | None:
    if not isinstance(body, str):
        return "the body is not text"
    if encoding not in (None, "base64"):
        return f"unknown body_encoding {encoding!r}"
    if encoding == "base64":
        try:
            b64decode(body)
        except (binascii.Error, ValueError):
            return "the body is not base64"
    return None
