"""How long somebody who comes now would wait, after the process has stood still for a while."""

from __future__ import annotations

import asyncio
import time

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import Visit

VISIT = Visit(api="api")
WAITING = 150
STALL_SECONDS = 0.6


async def test_one_stall_does_not_make_the_queue_look_endless() -> None:
    nobody = RedisLimits(connect("redis://127.0.0.1:1/0"), holder_id="h")
    gate = SharedGate(nobody, {"api": ApiConfig(name="api", connections=1)})
    first = gate.try_enter(VISIT)
    assert first is not None
    waiting = [
        asyncio.create_task(gate.enter(VISIT, patience_seconds=60)) for _ in range(2 * WAITING)
    ]
    await asyncio.sleep(0)
    first.release()
    for task in waiting[:WAITING]:
        (await task).release()
    before = gate.snapshot()["api"].expected_wait_seconds
    time.sleep(STALL_SECONDS)  # noqa: ASYNC251 - frozen, or kept from the processor
    (await waiting[WAITING]).release()
    assert before < 1
    assert gate.snapshot()["api"].expected_wait_seconds < 2, (
        "one sample counts as if all were like it"
    )
    for task in waiting[WAITING + 1 :]:
        (await task).release()
    await gate.aclose()
