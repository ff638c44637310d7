"""One API is dead for a while under its runs, beside another that is well and has runs of its own.

For half of the time it refuses connections, for the other half it takes requests and never answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.gate import flows, judging
from tests.bench.gate.api import Mode
from tests.bench.gate.flows import Wanted
from tests.bench.gate.judging import Call, Limit
from tests.bench.gate.stage import Scene, Stage, failed, until
from tests.bench.gate.steering import ApiProcess

RUNS = 1000
LIMIT, OTHER_LIMIT = Limit(amount=100), Limit(amount=200)
CONCURRENCY = 50
_BEFORE_SHARE = 1 / 3  # of the outage's own time
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_MARGIN_SECONDS = 2.0  # while a change shows


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What the dead API's runs hold at some moment."""

    slots: int  # requests that it has taken and not answered
    in_hands: int  # runs that workers keep in memory


@dataclass(frozen=True, kw_only=True)
class _Times:
    """When the API died and when it was well again, as `time.monotonic()`."""

    began: float
    died: float
    healed: float
    ended: float


async def measure(stage: Stage) -> dict[str, Any]:
    """The outage lasts `seconds`; after it all runs have twice as long to end."""
    outage = stage.asked.seconds
    wanted = flows.runs("bench", min(RUNS, stage.asked.runs))
    other_calls = OTHER_LIMIT.per_second * (2 * outage + _START_SECONDS)
    others = flows.runs("other", int(other_calls / 2), label="other")
    with (
        ApiProcess(stage.folder, name="bench", limit=LIMIT) as api,
        ApiProcess(stage.folder, name="other", limit=OTHER_LIMIT) as other,
    ):
        apis = {
            api: {"rate": LIMIT.notation, "concurrency": CONCURRENCY},
            other: {"rate": OTHER_LIMIT.notation, "concurrency": CONCURRENCY},
        }
        async with stage.scene(apis, workers=stage.asked.usual_workers) as scene:
            # In turn, as they would come: neither API's runs all stand behind the other's.
            await scene.submit(_in_turn(wanted, others))
            await until(lambda: api.statistics().calls > 0, seconds=_START_SECONDS)
            began = time.monotonic()
            await asyncio.sleep(max(outage * _BEFORE_SHARE, _MARGIN_SECONDS))
            died = time.monotonic()
            looks = await _outage(scene, api, outage)
            healed = time.monotonic()
            names = {run.name for run in wanted}
            done = await until(lambda: _unsettled(scene, names) == 0, seconds=2 * outage + 10)
            times = _Times(began=began, died=died, healed=healed, ended=time.monotonic())
            found, calls, others_calls = scene.runs(), api.calls(), other.calls()
            violations = api.statistics().violations + other.statistics().violations
    wrong = failed([*wanted, *others], found)
    return {
        "runs": len(wanted), "all_ended": done, "violations": violations,
        "failed_runs": sum(wrong.values()), "failed": wrong, "outage_seconds": outage,
        **_held(looks), **_others(others_calls, times), **_recovery(calls, times),
    }  # fmt: skip


def _in_turn(wanted: Sequence[Wanted], others: Sequence[Wanted]) -> list[Wanted]:
    both = zip(wanted, others, strict=False)
    shared = min(len(wanted), len(others))
    return [run for pair in both for run in pair] + [*wanted[shared:], *others[shared:]]


async def _outage(scene: Scene, api: ApiProcess, seconds: float) -> list[_Look]:
    looks: list[_Look] = []
    for mode in (Mode.REFUSING, Mode.HANGING):
        api.set(mode=mode)
        end = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
            looks.append(await asyncio.to_thread(_look, scene, api))
    api.set(mode=Mode.WELL)
    return looks


def _look(scene: Scene, api: ApiProcess) -> _Look:
    return _Look(slots=api.statistics().in_flight, in_hands=scene.in_hands("bench"))


def _unsettled(scene: Scene, names: set[str]) -> int:
    return sum(run.seconds is None for run in scene.runs() if run.name in names)


def _held(looks: Sequence[_Look]) -> dict[str, Any]:
    """Of each half its last look, and the most in all."""
    refusing, hanging = looks[: len(looks) // 2], looks[len(looks) // 2 :]
    return {
        "slots_held": max(look.slots for look in looks),
        "slots_held_at_end": hanging[-1].slots,
        "runs_in_hands_while_refusing": refusing[-1].in_hands,
        "runs_in_hands_while_hanging": hanging[-1].in_hands,
    }  # fmt: skip


def _others(calls: Sequence[Call], times: _Times) -> dict[str, Any]:
    before = _rate(calls, times.began + _MARGIN_SECONDS / 2, times.died)
    during = _rate(calls, times.died, times.healed)
    return {
        "other_before_per_second": round(before, 1), "other_during_per_second": round(during, 1),
        "other_during_over_before": round(during / before, 3) if before else None,
        "other_permitted_per_second": OTHER_LIMIT.per_second,
    }  # fmt: skip


def _recovery(calls: Sequence[Call], times: _Times) -> dict[str, Any]:
    during = judging.between(calls, times.died, times.healed)
    after = judging.between(calls, times.healed, times.ended)
    half = judging.sustained(after, LIMIT.per_second / 2, seconds=1.0)
    return {
        "calls_during": len(during),
        "peak_over_permitted": round(judging.most_in_a_window(after, 1.0) / LIMIT.per_second, 3),
        "seconds_until_half_rate": None if half is None else round(half - times.healed, 2),
        "seconds_until_all_ended": round(times.ended - times.healed, 2),
    }  # fmt: skip


def _rate(calls: Sequence[Call], begin: float, end: float) -> float:
    return len(judging.between(calls, begin, end)) / max(end - begin, 1e-9)
