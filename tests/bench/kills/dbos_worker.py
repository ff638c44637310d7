"""A worker process of DBOS: `python -m tests.bench.kills.dbos_worker`, told by its environment.

Prints `ready` when its queue is polled.
"""

from __future__ import annotations

import asyncio
import os
import signal

from dbos import DBOS, DBOSConfig

from tests.bench.kills import work
from tests.bench.peers import names

_config: DBOSConfig = {
    "name": names.APPLICATION,
    "system_database_url": os.environ.get(names.DBOS_URL),
    "executor_id": os.environ.get(names.DBOS_NAME),  # its documents ask for one in each process
    "application_version": "1",
    "log_level": "WARNING",
}
DBOS(config=_config)


@DBOS.step()
async def do(run: str, step: str) -> None:
    """One step."""
    await work.ACTS[step](run, step)


@DBOS.step()
async def undo(run: str, step: str) -> None:
    """One undo."""
    await work.undo(run, step)


@DBOS.workflow(name=work.FLOW)
async def checkout(run: str) -> None:
    """A saga as its documents write it: plain code that undoes, in reverse, what was done."""
    done: list[str] = []
    try:
        for step in work.STEPS:
            await do(run, step)
            done.append(step)
    except work.Refused as error:
        for step in reversed(done):
            await undo(run, step)
        raise ValueError(names.refused(len(done))) from error


async def main() -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    DBOS.launch()
    await DBOS.register_queue_async(
        names.QUEUE, on_conflict="always_update", polling_interval_sec=names.DBOS_POLLING_SECONDS
    )
    print("ready", flush=True)
    await ended.wait()
    await work.close()
    DBOS.destroy(workflow_completion_timeout_sec=0)


if __name__ == "__main__":
    asyncio.run(main())
