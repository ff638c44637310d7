"""A worker that holds half of an API's slots is killed: when are all usable again?"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from tests.bench.gate import flows, judging
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Stage, failed, until
from tests.bench.gate.steering import ApiProcess

CEILING = 200
WORKERS = 2
LATENCY_SECONDS = 1.0
_UNLIMITED = Limit(amount=1_000_000)
_FULL_SECONDS = 30.0
_AFTER_SECONDS = 20.0
_STEADY_SECONDS = 2.0


async def measure(stage: Stage) -> dict[str, Any]:
    """The killed one is not started again. Raises TimeoutError when slots are never all used."""
    calls_needed = CEILING * (_FULL_SECONDS + _AFTER_SECONDS) / LATENCY_SECONDS
    wanted = flows.runs("bench", min(int(calls_needed / 2), stage.asked.runs))
    limits = {"concurrency": CEILING, "connections": CEILING}
    with ApiProcess(stage.folder, name="bench", limit=_UNLIMITED) as api:
        api.set(latency_seconds=LATENCY_SECONDS)
        async with stage.scene({api: limits}, workers=WORKERS) as scene:
            await scene.submit(wanted)
            half = [CEILING // WORKERS] * WORKERS

            def full() -> bool:
                return scene.allowances("bench") == half and _in_use(api) == CEILING

            if not await until(full, seconds=_FULL_SECONDS):
                raise TimeoutError(f"slots: {scene.allowances('bench')}, in use {_in_use(api)}")
            killed_at = time.monotonic()
            os.killpg(scene.crew.supervisor.workers[0].pid, signal.SIGKILL)

            def usable_again() -> bool:
                since = [call for call in api.calls() if call.at > killed_at]
                return judging.reached(since, CEILING) is not None

            await until(usable_again, seconds=_AFTER_SECONDS)
            await asyncio.sleep(_STEADY_SECONDS)
            calls, wrong = api.calls(), failed(wanted, scene.runs())
    again = judging.reached((call for call in calls if call.at > killed_at), CEILING)
    return {
        "slots_held_by_the_killed": half[0], "ceiling": CEILING,
        "seconds_until_all_usable": None if again is None else round(again - killed_at, 2),
        "peak_in_use": judging.most_in_flight(calls),
        "peak_over_ceiling": round(judging.most_in_flight(calls) / CEILING, 3),
        "failed_runs": sum(wrong.values()), "failed": wrong,
    }  # fmt: skip


def _in_use(api: ApiProcess) -> int:
    return api.statistics().in_flight
