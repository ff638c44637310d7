"""Remote control: watchers may ask, nobody may steer.

Whoever can write to the broker can broadcast a remote-control command, and Flower's buttons do.
A revoked message or a stopped worker would change nothing in the table of runs, only delay and
mislead; runs are cancelled, and workers stopped, through the orchestrator. So the commands that
change a worker are removed, and those that answer questions speak of runs.
"""

from __future__ import annotations

import os
from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import Panel

from orchestrator.ports import DEAD_LETTER_QUEUE, ActiveRun
from orchestrator.worker.canary import is_canary_queue
from orchestrator.worker.envelope import hint_args

# `election` belongs to gossip, `objgraph` writes files. enable_events and disable_events stay:
# Flower sends the first one, and both change only what watchers see.
REMOVED_COMMANDS = frozenset(
    {
        "add_consumer",
        "autoscale",
        "cancel_consumer",
        "election",
        "objgraph",
        "pool_grow",
        "pool_restart",
        "pool_shrink",
        "rate_limit",
        "revoke",
        "revoke_by_stamped_headers",
        "shutdown",
        "terminate",
        "time_limit",
    }
)


def install_panel() -> None:
    """Change Celery's registry of commands, which is one per process. Repeatable."""
    for name in REMOVED_COMMANDS:
        Panel.data.pop(name, None)
        Panel.meta.pop(name, None)
    for name, command in {
        "active": active,
        "dump_active": active,
        "active_queues": active_queues,
        "hello": hello,
        "query_task": query_task,
    }.items():
        Panel.data[name] = command


def active(state: Any, safe: bool = False, **_: Any) -> list[dict[str, Any]]:
    """The engine's active runs, each as the request of the step it is at."""
    return [_as_request(run, state.hostname) for run in _active_runs(state)]


def query_task(state: Any, ids: str | list[str], **_: Any) -> dict[str, tuple[str, Any]]:
    """Requests by id: of a message, or of the step that an active run is at."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    known = {run.hop_id: run for run in _active_runs(state)}
    found: dict[str, tuple[str, Any]] = {}
    for hop_id in wanted:
        if hop_id in known:
            found[hop_id] = "active", _as_request(known[hop_id], state.hostname)
        elif (request := worker_state.requests.get(hop_id)) is not None:
            is_active = request in worker_state.active_requests
            found[hop_id] = "active" if is_active else "reserved", request.info()
    return found


def active_queues(state: Any, **_: Any) -> list[dict[str, Any]]:
    """The queues consumed from, and the dead-letter queue, which only people consume.

    Flower lists exactly the queues that workers name here.
    """
    consumer = state.consumer.task_consumer
    if not consumer:
        return []
    queues = [
        dict(queue.as_dict(recurse=True)) for queue in consumer.queues
        if not is_canary_queue(queue.name)
    ]  # fmt: skip
    if queues:
        queues.append({**queues[0], "name": DEAD_LETTER_QUEUE, "routing_key": DEAD_LETTER_QUEUE})
    return queues


def hello(state: Any, from_node: str, **_: Any) -> dict[str, Any] | None:
    """Another worker starts: the clock, but no ids to refuse, neither given nor taken."""
    if from_node == state.hostname:
        return None
    return {"revoked": [], "clock": state.app.clock.forward()}


def _active_runs(state: Any) -> list[ActiveRun]:
    runtime = state.app.runtime
    return [] if runtime is None else runtime.active()


def _as_request(run: ActiveRun, hostname: str) -> dict[str, Any]:
    """The shape of Celery's `Request.info()`, with the chain's ids."""
    return {
        "id": run.hop_id,
        "name": run.label,
        "args": hint_args((run.run_id, run.epoch)),
        "kwargs": {},
        "type": run.task,
        "hostname": hostname,
        "time_start": run.since,
        "acknowledged": True,
        "delivery_info": {
            "exchange": "",
            "routing_key": run.queue,
            "priority": 0,
            "redelivered": False,
        },
        "worker_pid": os.getpid(),
        "root_id": run.run_id,
        "parent_id": run.parent_hop_id,
    }
