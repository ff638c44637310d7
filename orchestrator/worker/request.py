"""A hop as Celery's consumer sees it."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request


class HopRequest(Request):
    """Keeps Celery from telling that a hop's step has succeeded.

    Celery would say so when the hop is over, whatever became of the step. The engine tells it, at
    the time and in the way the step ended (`events.py`). Celery still tells of the other things
    that happen to a hop: received, started, and failed when the engine did.
    """

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send a task event, unless the engine sends it."""
        if type != "task-succeeded":
            super().send_event(type, **fields)
