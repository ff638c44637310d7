"""A worker process of Temporal: `python -m tests.bench.kills.temporal_worker ADDRESS`.

Prints `ready` when it polls.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from temporalio.client import Client
from temporalio.worker import Worker

from tests.bench.kills import temporal_flows, work
from tests.bench.peers import names


async def main(address: str) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Worker(
        await Client.connect(address),
        task_queue=names.QUEUE,
        workflows=[temporal_flows.Checkout],
        activities=[temporal_flows.do, temporal_flows.undo],
    ):
        print("ready", flush=True)
        await ended.wait()
    await work.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
