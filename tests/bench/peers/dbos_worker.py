"""A worker process of DBOS: `python -m tests.bench.peers.dbos_worker`, told by its environment.

Prints `ready` when its queue is polled and its port listens. A line of JSON on that port,
`{"flow", "first", "count", "steps"}`, starts so many workflows in this process at once; the answer
is one line when all of them have ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dbos import DBOS, DBOSConfig

from tests.bench.peers import names, steps

_config: DBOSConfig = {
    "name": names.APPLICATION,
    "system_database_url": os.environ.get(names.DBOS_URL),
    "executor_id": os.environ.get(names.DBOS_NAME),  # its documents ask for one in each process
    "application_version": "1",
    "log_level": "WARNING",
}
DBOS(config=_config)


@DBOS.step()
async def work(number: int) -> None:
    """Nothing at all."""


@DBOS.step()
async def undo(number: int) -> None:
    """Nothing at all."""


@DBOS.step()
async def call(number: int) -> None:
    """One POST to the stub."""
    await steps.call(number)


@DBOS.step()
async def refuse(number: int) -> None:
    """As the last step; without retries, which is its default."""
    raise ValueError(names.REFUSED)


@DBOS.workflow(name="noop")
async def noop_flow(number: int, count: int) -> None:
    """Steps that do nothing."""
    for _ in range(count):
        await work(number)


@DBOS.workflow(name="calls")
async def calls_flow(number: int, count: int) -> None:
    """Calls."""
    for _ in range(count):
        await call(number)


@DBOS.workflow(name="refused")
async def refused_flow(number: int, count: int) -> None:
    """A saga as its documents write it: plain code that undoes, in reverse, what was done."""
    undos: list[Callable[[int], Awaitable[None]]] = []
    try:
        for _ in range(count - 1):
            await work(number)
            undos.append(undo)
        await refuse(number)
    except ValueError as error:
        for undo_one in reversed(undos):
            await undo_one(number)
        raise ValueError(names.refused(len(undos))) from error


FLOWS = {"noop": noop_flow, "calls": calls_flow, "refused": refused_flow}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client's wishes, one after the other."""
    while line := await reader.readline():
        wish = json.loads(line)
        flow, numbers = FLOWS[wish["flow"]], range(wish["first"], wish["first"] + wish["count"])
        handles = await asyncio.gather(
            *(DBOS.start_workflow_async(flow, number, wish["steps"]) for number in numbers)
        )
        await asyncio.gather(*(handle.get_result() for handle in handles), return_exceptions=True)
        writer.write(b"ended\n")
        await writer.drain()
    writer.close()


async def main() -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    DBOS.launch()
    concurrency = int(os.environ[names.DBOS_CONCURRENCY]) or None
    await DBOS.register_queue_async(
        names.QUEUE, on_conflict="always_update", worker_concurrency=concurrency,
        polling_interval_sec=names.DBOS_POLLING_SECONDS,
    )  # fmt: skip
    server = await asyncio.start_server(_serve, "127.0.0.1", int(os.environ[names.DBOS_PORT]))
    print("ready", flush=True)
    await ended.wait()
    server.close()
    await steps.close()
    with suppress(Exception):  # whatever it thinks of an early end is of no interest here
        DBOS.destroy(workflow_completion_timeout_sec=0)


if __name__ == "__main__":
    asyncio.run(main())
