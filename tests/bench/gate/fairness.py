"""Four tenants before one API, one of them with a hundred times the backlog, submitted first."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.engine.figures import percentile
from tests.bench.gate import flows, judging
from tests.bench.gate.flows import TENANTS, Wanted
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Ended, Scene, Stage, failed, until
from tests.bench.gate.steering import ApiProcess

LIMIT = Limit(amount=100)
TIMES_MORE = 100
BIG, SMALL = TENANTS[0], TENANTS[1:]
_HEAD_START_SECONDS = 3.0
_CONTENDED_SHARE = 0.9  # of a tenant's calls; at its end it may have fewer waiting than its share


async def measure(stage: Stage) -> dict[str, Any]:
    """Contended, then one of the small ones alone at its share. Raises TimeoutError, ValueError."""
    each = max(stage.asked.runs // (TIMES_MORE + len(SMALL)), 4)
    big = flows.runs("bench", each * TIMES_MORE, tenant=BIG, label="big")
    small = {tenant: flows.runs("bench", each, tenant=tenant) for tenant in SMALL}
    together = await _contended(stage, big, small)
    alone = await _alone(stage, small[SMALL[0]])
    p99, p99_alone = together["small_p99_seconds"], alone["p99_seconds"]
    return {
        **together, "alone": alone,
        "small_p99_over_alone": round(p99 / p99_alone, 2) if p99 and p99_alone else None,
        "violations": together["violations"] + alone["violations"],
        "failed_runs": together["failed_runs"] + alone["failed_runs"],
    }  # fmt: skip


async def _contended(
    stage: Stage, big: Sequence[Wanted], small: Mapping[str, Sequence[Wanted]]
) -> dict[str, Any]:
    theirs = [run for runs in zip(*small.values(), strict=True) for run in runs]  # at once
    patience = _patience(stage, sum(run.calls for run in theirs))
    limits = {"rate": LIMIT.notation}
    with ApiProcess(stage.folder, name="bench", limit=LIMIT) as api:
        async with stage.scene({api: limits}, workers=stage.asked.usual_workers) as scene:
            await scene.submit(big)
            await until(lambda: api.statistics().calls > 0, seconds=patience)
            await asyncio.sleep(_HEAD_START_SECONDS)
            submitted = time.monotonic()
            await scene.submit(theirs)
            done = await until(lambda: _all_ended(scene, SMALL), seconds=patience)
            ended, calls, violations = scene.runs(), api.calls(), api.statistics().violations
    since = [call for call in calls if call.at >= submitted and call.status != 429]
    begin, end = judging.contended(since, TENANTS, share=_CONTENDED_SHARE)
    served = Counter(call.tenant for call in judging.between(since, begin, end))
    first = [_first(since, tenant, submitted) for tenant in SMALL]
    wrong = failed([*big, *theirs], ended)
    return {
        "jain": round(judging.jain([served[tenant] for tenant in TENANTS]), 4),
        "served": dict(served), "contended_seconds": round(end - begin, 2),
        "small_first_served_after_seconds": [one for one in first if one is not None],
        "small_p50_seconds": _percentile(ended, SMALL, 0.5),
        "small_p99_seconds": _percentile(ended, SMALL, 0.99),
        "small_have_ended": done, "utilization_since": _utilization(since),
        "runs_of_each": {BIG: len(big), **{name: len(runs) for name, runs in small.items()}},
        "violations": violations, "failed_runs": sum(wrong.values()), "failed": wrong,
        "limit": LIMIT.notation,
    }  # fmt: skip


async def _alone(stage: Stage, wanted: Sequence[Wanted]) -> dict[str, Any]:
    limit = Limit(amount=LIMIT.amount // len(TENANTS))
    tenant = wanted[0].tenant
    patience = _patience(stage, sum(run.calls for run in wanted) * len(TENANTS))
    with ApiProcess(stage.folder, name="bench", limit=limit) as api:
        workers = stage.asked.usual_workers
        async with stage.scene({api: {"rate": limit.notation}}, workers=workers) as scene:
            await scene.submit(wanted)
            await until(lambda: _all_ended(scene, (tenant,)), seconds=patience)
            ended, violations = scene.runs(), api.statistics().violations
    return {
        "p50_seconds": _percentile(ended, (tenant,), 0.5),
        "p99_seconds": _percentile(ended, (tenant,), 0.99),
        "violations": violations, "failed_runs": sum(failed(wanted, ended).values()),
        "limit": limit.notation,
    }  # fmt: skip


def _patience(stage: Stage, calls: int) -> float:
    """Seconds: three times what the small ones need at their share, or the phase's time."""
    return max(stage.asked.seconds, 3 * calls / LIMIT.per_second * len(TENANTS) / len(SMALL))


def _all_ended(scene: Scene, tenants: Sequence[str]) -> bool:
    return all(run.seconds is not None for run in scene.runs() if run.tenant in tenants)


def _percentile(ended: Sequence[Ended], tenants: Sequence[str], share: float) -> float | None:
    """Seconds from acceptance to end; None: so many have not ended."""
    theirs = (run for run in ended if run.tenant in tenants)
    waits = [math.inf if run.seconds is None else run.seconds for run in theirs]
    found = percentile(waits, share)
    return None if math.isinf(found) else round(found, 2)


def _first(calls: Sequence[judging.Call], tenant: str, since: float) -> float | None:
    """Seconds; None: never."""
    found = (round(call.at - since, 2) for call in calls if call.tenant == tenant)
    return next(found, None)


def _utilization(calls: Sequence[judging.Call]) -> float:
    return round((len(calls) - 1) / (calls[-1].at - calls[0].at) / LIMIT.per_second, 4)
