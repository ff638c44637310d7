"""Every Celery setting that we set, and why."""

from __future__ import annotations

from collections.abc import Sequence
from ssl import CERT_REQUIRED
from typing import Any

from kombu.entity import Exchange, Queue

from orchestrator.core.states import Direction
from orchestrator.ports import MAINTENANCE_QUEUE, queue_names

# The default exchange routes to the queue of the routing key's name, so there are no bindings to
# keep in the broker, and a flushed broker needs no declarations before it routes again.
_DEFAULT_EXCHANGE = Exchange("", type="direct")  # type: ignore[no-untyped-call] # kombu


def task_queue_names(lanes: Sequence[str]) -> tuple[str, ...]:
    """The queues a worker of these lanes consumes from. The dead-letter queue is not one."""
    by_lane = [
        name for lane in lanes for direction in Direction for name in queue_names(lane, direction)
    ]
    return (*by_lane, MAINTENANCE_QUEUE)


def own_queue(name: str) -> Queue:
    """A queue of one process, which goes with it."""
    return Queue(  # type: ignore[no-untyped-call] # kombu
        name, exchange=_DEFAULT_EXCHANGE, routing_key=name, durable=False, auto_delete=True
    )


def celery_options(*, broker_url: str, lanes: Sequence[str], concurrency: int) -> dict[str, Any]:
    """Celery's configuration; `concurrency` is the number of active runs per process."""
    queues = task_queue_names(lanes)
    return {
        **_messages(queues, queue_arguments(broker_url)),
        **_no_results(),
        **_worker(concurrency),
        **_broker(broker_url),
    }


def queue_arguments(broker_url: str) -> dict[str, str]:
    """With which durable queues are declared, everywhere alike: RabbitMQ has quorum queues."""
    return {"x-queue-type": "quorum"} if broker_url.startswith(("amqp://", "amqps://")) else {}


def _messages(queues: Sequence[str], arguments: dict[str, str]) -> dict[str, Any]:
    return {
        # JSON alone, in both directions and for events: a pickle is code.
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_protocol": 2,
        "task_queues": [
            Queue(  # type: ignore[no-untyped-call] # kombu
                name, exchange=_DEFAULT_EXCHANGE, routing_key=name, queue_arguments=arguments
            )
            for name in queues
        ],
        "task_default_queue": queues[0],
        "task_default_exchange": "",
        "task_default_routing_key": queues[0],
        # `-Q dead_letter` would make a worker swallow what waits for people.
        "task_create_missing_queues": False,
        # Early: the table recovers a lost hint, and with late ones the broker would hand out a
        # long run twice (visibility timeout).
        "task_acks_late": False,
        # It names the task, not the step, and costs one publish per message.
        "task_send_sent_event": False,
    }


def _no_results() -> dict[str, Any]:
    return {
        # The table of runs is the result; a second one could only disagree.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
    }


def _worker(concurrency: int) -> dict[str, Any]:
    return {
        # In the settings, so that `celery -A orchestrator worker` needs no flag and no variable.
        "worker_pool": "orchestrator.worker.pool:HopPool",
        "worker_consumer": "orchestrator.worker.intake:Intake",
        "worker_concurrency": concurrency,
        # A hint in a worker's memory is one that no other worker can take up and no queue's depth
        # shows. Over Redis nothing is fetched beyond the free slots; other transports fetch at
        # most one more for each slot.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # After a reconnect the active runs are still ours and their slots still taken.
        "worker_enable_prefetch_count_reduction": False,
        # Concerns late-acknowledged tasks only, of which there are none; unset, it warns.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Flower lives on them.
        "worker_send_task_events": True,
        # Read-only, see panel.py: `celery inspect` and Flower need it.
        "worker_enable_remote_control": True,
        # structlog writes JSON lines to the stream; Celery would wrap stdout and the root logger.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _broker(broker_url: str) -> dict[str, Any]:
    return {
        "broker_url": broker_url,
        # Left alone, kombu takes a rediss:// address as encryption without looking at the
        # certificate. Options in the address (?ssl_cert_reqs=…) are obeyed.
        "broker_use_ssl": {"ssl_cert_reqs": CERT_REQUIRED}
        if broker_url.startswith("rediss://") and "ssl_" not in broker_url
        else None,
        # A worker that starts before its broker waits for it.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            # Saves two round trips per message. They keep a copy of each popped message until it
            # is acknowledged, an instant later; a hint lost in that instant is found by the sweep.
            "ack_emulation": False,
            # One list per queue: without it each pop names four lists per queue. What is urgent has
            # a queue of its own, which everybody sees who looks at queues.
            "priority_steps": [0],
            "queue_order_strategy": "orchestrator.worker.turns:Turns",
            # A half-open connection must not hang for ever.
            "socket_timeout": 10.0,
            "socket_connect_timeout": 5.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
