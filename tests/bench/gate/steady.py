"""A backlog against one rate: how much of it is used, and what that costs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.bench.engine import costs
from tests.bench.gate import flows, judging
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Scene, Stage, failed, until
from tests.bench.gate.steering import ApiProcess, Statistics

LIMIT = Limit(amount=5000, seconds=10)
CONCURRENCY = 100
RAMP_SECONDS = 3.0
LATENCY_SECONDS = 0.005
_START_SECONDS = 30.0
_LAST_SHARE = 0.9  # of the backlog's calls; what comes then is its end, not its steady state


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """What had been counted when."""

    at: float
    scripts: int
    api: Statistics
    cpu_seconds: dict[str, float]


async def measure(stage: Stage, workers: int) -> dict[str, Any]:
    """One number of workers. Raises TimeoutError when nothing is served."""
    wanted = flows.runs("bench", stage.asked.runs)
    expected = sum(run.calls for run in wanted)
    limits = {"rate": LIMIT.notation, "concurrency": CONCURRENCY}
    with ApiProcess(stage.folder, name="bench", limit=LIMIT) as api:
        api.set(latency_seconds=LATENCY_SECONDS)
        async with stage.scene({api: limits}, workers=workers) as scene:
            await scene.submit(wanted)
            if not await until(lambda: api.statistics().calls > 0, seconds=_START_SECONDS):
                raise TimeoutError("the API is not called")
            await asyncio.sleep(RAMP_SECONDS)
            begin = _now(scene, api)
            await until(
                lambda: api.statistics().calls > _LAST_SHARE * expected,
                seconds=max(stage.asked.seconds - RAMP_SECONDS, 1.0),
            )
            end = _now(scene, api)
            ended = scene.runs()
            wrong = failed(wanted, ended)
        calls, violations = api.calls(), api.statistics().violations
    return {
        "workers": workers, "violations": violations, "failed_runs": sum(wrong.values()),
        "failed": wrong, "settled_runs": sum(run.seconds is not None for run in ended),
        **_figures(judging.between(calls, begin.at, end.at), begin, end),
        "most_in_a_window": judging.most_in_a_window(calls, LIMIT.seconds),
        "limit": LIMIT.notation, "concurrency": CONCURRENCY,
    }  # fmt: skip


def _figures(calls: list[judging.Call], begin: _Moment, end: _Moment) -> dict[str, Any]:
    seconds, made = end.at - begin.at, len(calls)
    admitted = sum(call.status != 429 for call in calls)
    spent = costs.difference(begin.cpu_seconds, end.cpu_seconds)
    return {
        "utilization": round(admitted / (LIMIT.per_second * seconds), 4),
        "calls": admitted, "permitted": round(LIMIT.per_second * seconds),
        "window_seconds": round(seconds, 2),
        "redis_round_trips_per_call": round((end.scripts - begin.scripts) / made, 3),
        "api_cpu_share": round((end.api.cpu_seconds - begin.api.cpu_seconds) / seconds, 3),
        "worker_cpu_share": round(spent["workers"] / seconds, 3),
        "longest_gap_seconds": round(_longest_gap(calls), 3),
    }  # fmt: skip


def _longest_gap(calls: list[judging.Call]) -> float:
    return max((b.at - a.at for a, b in pairwise(calls)), default=0.0)


def _now(scene: Scene, api: ApiProcess) -> _Moment:
    return _Moment(
        at=time.monotonic(), scripts=scene.scripts(), api=api.statistics(),
        cpu_seconds=costs.cpu_seconds(scene.crew.parts),
    )  # fmt: skip
