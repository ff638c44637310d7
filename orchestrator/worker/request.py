"""A hop as Celery's books, `celery inspect` and Flower see it."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from orchestrator.ports import FORWARD_TASK, JOB_TASK, Hop


class HopRequest(Request):
    """Celery's request with the hop that it stands for.

    Of its events Celery would tell that the task succeeded when the hop is over, whatever became
    of the step; the engine tells that (`events.py`), at the time and in the way the step ended.
    Celery still tells of what happens to a hop: received, started, and failed when the engine did;
    and that a job's batch, which is no step, is over.
    """

    def __init__(self, message: Any, hop: Hop, *, consumer: Any) -> None:
        super().__init__(
            message,
            # At once: Celery's own handler leaves both to its loop, for pools of other threads.
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=consumer.app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=consumer.app.tasks.get(hop.task) or consumer.app.tasks[FORWARD_TASK],
            connection_errors=consumer.connection_errors,
        )
        self.hop = hop
        self._shown = consumer.app.step_events.message_taken(hop)

    def send_received(self) -> None:
        """Tell that a worker has it."""
        self.send_event(
            "task-received",
            name=self.name,
            args=self.argsrepr,
            kwargs=self.kwargsrepr,
            root_id=self.root_id,
            parent_id=self.parent_id,
            retries=0,
            eta=None,
            expires=None,
        )

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send a task event to those who listen, unless the engine sends it or it is left out."""
        told_by_engine = type == "task-succeeded" and self.hop.task != JOB_TASK
        if told_by_engine or not self.app.audience.present:
            return
        if not self._shown:
            if type != "task-failed":
                return
            self._shown = True  # a failure is never left out
            self.send_received()
        super().send_event(type, **fields)
