"""An API halves its limit and tells nobody; later it has its old limit again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.gate import flows, judging
from tests.bench.gate.judging import Call, Limit
from tests.bench.gate.stage import Stage, failed, until
from tests.bench.gate.steering import ApiProcess

LIMIT = Limit(amount=200)
HALF = 0.5
_LEARN_SECONDS = 10.0  # after so long hardly anything may be refused
_HEAL_SECONDS = 60.0
_START_SECONDS = 30.0
_BEFORE_SECONDS = 4.0
_WELL_SHARE = 0.95
_WELL_SECONDS = 2.0


async def measure(stage: Stage) -> dict[str, Any]:
    """Halved for at least twice the time that it may take to learn of it."""
    halved = max(stage.asked.seconds, 2 * _LEARN_SECONDS)
    needed = LIMIT.per_second * (_START_SECONDS / 3 + halved + _HEAL_SECONDS)
    wanted = flows.runs("bench", max(int(needed / 2), 1))
    with ApiProcess(stage.folder, name="bench", limit=LIMIT) as api:
        limits = {"rate": LIMIT.notation}
        async with stage.scene({api: limits}, workers=stage.asked.usual_workers) as scene:
            await scene.submit(wanted)
            await until(lambda: api.statistics().calls > 0, seconds=_START_SECONDS)
            await asyncio.sleep(_BEFORE_SECONDS)
            before = api.statistics().violations
            api.set(limit_factor=HALF)
            halved_at = time.monotonic()
            await asyncio.sleep(halved)
            api.set(limit_factor=1.0)
            healed_at = time.monotonic()

            def well() -> bool:
                return _until_well(api.calls(), healed_at) is not None

            await until(well, seconds=_HEAL_SECONDS)
            calls, wrong = api.calls(), failed(wanted, scene.runs())
    late = judging.between(calls, halved_at + _LEARN_SECONDS, healed_at)
    early = judging.between(calls, halved_at, halved_at + _LEARN_SECONDS)
    return {
        "violations": before, "failed_runs": sum(wrong.values()), "failed": wrong,
        "violation_share": _refused_share(late), "violation_share_at_first": _refused_share(early),
        "utilization_of_half": _utilization(late),
        "seconds_until_95": _until_well(calls, healed_at), "halved_seconds": halved,
    }  # fmt: skip


def _refused_share(calls: Sequence[Call]) -> float:
    """Of the calls, those that were refused by the limit."""
    return round(sum(call.status == 429 for call in calls) / max(len(calls), 1), 4)


def _utilization(calls: Sequence[Call]) -> float | None:
    """What was admitted of the halved limit."""
    if len(calls) < 2:
        return None
    admitted = sum(call.status != 429 for call in calls)
    seconds = calls[-1].at - calls[0].at
    return round(admitted / (seconds * LIMIT.per_second * HALF), 3)


def _until_well(calls: Sequence[Call], healed_at: float) -> float | None:
    """Seconds until calls were admitted at nearly the full rate again.

    Of a rate of one second the headroom keeps 4 %: the share is of what the gate uses when well.
    """
    admitted = [call for call in calls if call.at >= healed_at and call.status != 429]
    full = LIMIT.per_second * LIMIT.seconds / (LIMIT.seconds + 0.04)
    at = judging.sustained(admitted, _WELL_SHARE * full, seconds=_WELL_SECONDS)
    return None if at is None else round(at - healed_at, 2)
