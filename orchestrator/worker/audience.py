"""Whether anybody listens to task events.

Building and sending the events of a step costs more than the step. Redis says of each message
that is published how many took it, so every half a second a bundle of no events is published the
way of all bundles; while nobody takes it, none are made. Watchers know such bundles: to Celery's
receivers (Flower, `celery events`) it is a list to go through. Heartbeats are always sent, so
that a watcher who comes late sees the workers at once, and tasks from then on.

Other transports do not say who listens: there events are made as configured.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson
from kombu.transport.redis import Channel

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.5

_Channel: Any = Channel  # half typed: its attributes pass for None


class CountingChannel(_Channel):
    """A Redis channel that knows how many took the last message it published to all."""

    takers = 0

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **_: Any) -> None:
        topics = self._get_publish_topics(exchange, routing_key)
        payload = orjson.dumps(message)
        with self.conn_or_acquire() as client:
            self.takers = sum(client.publish(topic, payload) for topic in topics)


def count_takers(connection: Any) -> None:
    """Let this kombu connection's channels count, where its transport is Redis."""
    make_transport = connection.create_transport

    def create_transport() -> Any:
        transport = make_transport()
        if transport.driver_type == "redis":
            transport.Channel = type("CountingChannel", (CountingChannel, transport.Channel), {})
        return transport

    connection.create_transport = create_transport


class Audience:
    """Who listens to task events. Any thread may ask."""

    present = True
    """Whether somebody does, or may."""

    def look(self, dispatcher: Any) -> None:
        """Find out. Celery's main thread alone, whose dispatcher this is."""
        if dispatcher is None or not dispatcher.enabled:
            self.present = False
        elif dispatcher.groups and "task" not in dispatcher.groups:
            self.present = False  # switched off, by the setting or by remote control
        else:
            self._publish_nothing(dispatcher)

    def _publish_nothing(self, dispatcher: Any) -> None:
        producer = dispatcher.producer
        try:
            if not isinstance(producer.channel, CountingChannel):
                self.present = True
                return
            producer.publish(
                [],
                routing_key="task.multi",
                exchange=dispatcher.exchange.name,
                declare=[dispatcher.exchange],
                serializer=dispatcher.serializer,
                headers=dispatcher.headers,
                delivery_mode=dispatcher.delivery_mode,
            )
            self.present = producer.channel.takers > 0
        except Exception as error:  # noqa: BLE001 - a broker that is away; it is asked again
            log.debug("who listens to events is not known: %r", error)
