"""A worker process of Temporal: `python -m tests.bench.peers.temporal_worker ADDRESS`.

Pollers scale by themselves, as its documents recommend. Prints `ready` when it polls.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from tests.bench.peers import names, steps, temporal_flows

_ACTIVITIES = 500


async def main(address: str) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    flows = temporal_flows
    async with Worker(
        await Client.connect(address),
        task_queue=names.QUEUE,
        workflows=[flows.Noop, flows.Calls, flows.RefusedSaga],
        activities=[flows.work, flows.undo, flows.call, flows.refuse],
        max_concurrent_activities=_ACTIVITIES,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
    ):
        print("ready", flush=True)
        await ended.wait()
    await steps.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
