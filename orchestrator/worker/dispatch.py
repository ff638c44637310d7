"""Celery's event dispatcher with its messages written by orjson.

A busy worker bundles hundreds of events in a message; kombu's JSON writer takes longer for each
than all else that is done for it. What is sent is the same.
"""

from __future__ import annotations

from typing import Any

import orjson
from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher


class HopEvents(Events):
    """The app's events (Celery's attribute `events_cls`)."""

    dispatcher_cls = "orchestrator.worker.dispatch:HopEventDispatcher"


class HopEventDispatcher(EventDispatcher):
    """Writes an event, or a list of them, itself."""

    def _publish(
        self, event: Any, producer: Any, routing_key: str, retry: bool = False,
        retry_policy: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        if producer is None:
            return
        try:
            producer.publish(
                orjson.dumps(event, default=str),
                content_type="application/json",
                content_encoding="utf-8",
                routing_key=routing_key,
                exchange=self.exchange.name,
                retry=retry,
                retry_policy=retry_policy,
                declare=[self.exchange],
                headers=self.headers,
                delivery_mode=self.delivery_mode,
            )
        except Exception:
            if not self.buffer_while_offline:
                raise
            self._outbound_buffer.append((event, routing_key))
