"""A process that sends as fast as its gate lets it: `python hammer.py '<json>'`.

Every call is one TCP round trip to a recorder ("+" when it begins, "-" when it ends). Prints what
it did as one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import uvloop

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.engine.apis import ApiFile
from orchestrator.engine.counted_limits import CountedLimits
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import GateBusy, SharedLimits, Visit
from orchestrator.store import open_store
from tests.integration.gate.processes import ENOUGH, wait_for_the_word


async def hammer(
    *,
    url: str,
    holder: str,
    recorder: int = 0,
    recorders: Mapping[str, int] | None = None,
    seconds: float,
    runs: int,
    rate: str | None = None,
    concurrency: int | None = None,
    call_seconds: float = 0.01,
    stall_seconds: float = 0.0,
    rules: Mapping[str, Any] | None = None,
    database: str | None = None,
    enough: int | None = None,
) -> dict[str, Any]:
    """`runs` tasks call over and over for `seconds`; each call takes `call_seconds` at the API.

    `recorders`: one for each tenant, which take turns among the tasks; `rules` as in a file. With a
    `database` what long windows let out is written down there. After `enough` calls it says so, and
    goes on until it is told that all have them.
    """
    tenants = list((recorders or {"default": recorder}).items())
    data = {"rate": rate, "concurrency": concurrency, "rules": dict(rules or {})}
    config = ApiFile(name="api", data=data).config()
    limits: SharedLimits = RedisLimits(connect(url), holder_id=holder)
    store = None if database is None else open_store(database)
    if store is not None:
        limits = CountedLimits(RedisLimits(connect(url), holder_id=holder), store)
    gate = SharedGate(limits, {"api": config})
    counts = {"calls": 0, "busy": 0}
    end = time.monotonic() + seconds
    waits: list[float] = []

    async def run(tenant: str, port: int) -> None:
        visit = Visit(api="api", tenant=tenant)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (left := end - time.monotonic()) > 0 and not (enough and told.done()):
            begun = time.monotonic()
            try:
                permit = await gate.enter(visit, patience_seconds=max(left, 0.01))
            except GateBusy:
                counts["busy"] += 1
                await asyncio.sleep(0.5)
                continue
            waits.append(time.monotonic() - begun)
            writer.write(b"+")
            await reader.readexactly(1)
            await asyncio.sleep(call_seconds)
            writer.write(b"-")
            await reader.readexactly(1)
            counts["calls"] += 1
            if counts["calls"] == enough:
                print(ENOUGH, flush=True)
            permit.release()
        writer.close()

    async def stall() -> None:
        """Something in the process that blocks the event loop now and then."""
        while stall_seconds:
            await asyncio.sleep(0.3)
            time.sleep(stall_seconds)  # noqa: ASYNC251 - the loop is meant to stall

    stalling = asyncio.create_task(stall())
    told = asyncio.create_task(_told(enough is not None))
    cpu = time.process_time()
    await asyncio.gather(*(run(*tenants[n % len(tenants)]) for n in range(runs)))
    stalling.cancel()
    await told
    state = {
        "headroom": gate._queue("api").supply._headroom, "cpu": time.process_time() - cpu,
    }  # fmt: skip
    await gate.aclose()
    if store is not None:
        await store.close()
    waits.sort()
    return {**counts, **state, "longest_wait": waits[-1] if waits else None, "holder": holder}


async def _told(listening: bool) -> None:
    """Return when somebody says that it is over."""
    if listening:
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    wait_for_the_word()
    print(json.dumps(uvloop.run(hammer(**json.loads(sys.argv[1])))))
